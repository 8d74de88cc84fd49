"""Pages of a team: its home, settings and audit log."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, page, paginate
from apps.datasets.models import Dataset
from apps.endpoints.models import Endpoint
from apps.projects.models import Project
from apps.registry.models import ModelVersion
from apps.teams import actions
from apps.teams.access import team_for
from apps.teams.forms import TeamForm
from apps.teams.models import Team
from apps.training.models import Job
from apps.training.states import LIVE
from apps.usage import reports
from apps.usage.quota import month_start


@login_required
@require_safe
def home(request: SignedInRequest, team_id: str) -> HttpResponse:
    """The team's projects, what runs now, this month's usage and who is here. htmx polls the part about jobs."""
    team = team_for(request.user, team_id)
    return page(
        request,
        "teams/home.html",
        fragment="teams/_jobs.html",
        team=team,
        projects=_projects(team),
        archived=team.projects.exclude(archived=None),
        jobs=_active_jobs(team),
        usage=SimpleLazyObject(lambda: _usage_of_month(team)),  # not for the part that htmx polls
        members=team.memberships.select_related("user"),
    )


def _projects(team: Team) -> QuerySet[Project]:
    return team.projects.filter(archived=None).annotate(
        dataset_count=_count(Dataset.objects.all()),
        model_count=_count(ModelVersion.objects.all()),
        endpoint_count=_count(Endpoint.objects.filter(deleted=None)),
        active_count=_count(Job.objects.filter(state__in=LIVE)),
    )


def _count(rows: QuerySet[Any]) -> Coalesce:
    """How many of these a project has. Each by a query of its own: joins would multiply them with each other."""
    counted = rows.filter(project=OuterRef("pk")).order_by().values("project").annotate(n=Count("pk"))
    return Coalesce(Subquery(counted.values("n")), 0)


def _usage_of_month(team: Team) -> dict[str, Any]:
    sums = reports.total(reports.rollups(team=team.pk, start=month_start()))
    return {**sums, "limit": team.monthly_requests}


def _active_jobs(team: Team) -> QuerySet[Job]:
    return Job.objects.filter(project__team=team, state__in=LIVE).listed()[:10]


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest) -> HttpResponse:
    """Start another team."""
    form = TeamForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        team = actions.create_team(actor=request.user, name=form.cleaned_data["name"])
        return go(request, reverse("teams:home", args=[team.pk]))
    return render(request, "teams/new.html", {"form": form}, status=422 if form.errors else 200)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: SignedInRequest, team_id: str) -> HttpResponse:
    """The team's name."""
    team = team_for(request.user, team_id, need="admin" if request.method == "POST" else "read")
    form = TeamForm(request.POST or None, initial={"name": team.name})
    if request.method == "POST" and form.is_valid():
        name = form.cleaned_data["name"]
        if attempt(form, lambda: actions.rename_team(actor=request.user, team=team, name=name)):
            messages.success(request, _("The team is now called %(name)s.") % {"name": name})
            return go(request, reverse("teams:settings", args=[team.pk]))
    return page(request, "teams/settings.html", team=team, form=form, status=422 if form.errors else 200)


@login_required
@require_safe
def audit_log(request: SignedInRequest, team_id: str) -> HttpResponse:
    """Every change, newest first; `?q=` looks in names and people."""
    team = team_for(request.user, team_id, need="admin")
    entries = team.audit_entries.select_related("actor", "project")
    query = request.GET.get("q", "").strip()[:100]
    if query:
        entries = entries.filter(
            Q(noun_name__icontains=query) | Q(actor_email__icontains=query) | Q(event__icontains=query)
        )
    rows = paginate(request, entries, 50)
    return page(request, "teams/audit.html", fragment="teams/_audit.html", team=team, rows=rows, query=query)
