"""Pages of usage: of a team and of a project, and of the ledger behind both."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from apps.core.downloads import download
from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, page, paginate
from apps.endpoints.models import Endpoint
from apps.projects.access import project_for
from apps.teams.access import team_for
from apps.teams.models import Team
from apps.training import compute
from apps.training.models import Attempt
from apps.usage import actions, reports, summary
from apps.usage.access import ledger_file_for
from apps.usage.forms import LimitForm, PeriodForm, SpanForm
from apps.usage.ledger_api import PARQUET
from apps.usage.models import LedgerFile
from apps.usage.reconciliation import reconcile


@login_required
@require_GET
def team(request: SignedInRequest, team_id: str) -> HttpResponse:
    """The usage of all endpoints of a team."""
    found = team_for(request.user, team_id)
    endpoints = Endpoint.objects.filter(project__team=found)
    jobs = {"job__project__team": found}
    return _page(request, endpoints, {"team": found.pk}, jobs, team=found, quota=summary.quota_left(found))


@login_required
@require_GET
def project(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The usage of a project's endpoints."""
    found = project_for(request.user, project_id)
    return _page(request, found.endpoints.all(), {"project": found.pk}, {"job__project": found}, project=found)


@login_required
@require_GET
def ledger(request: SignedInRequest, team_id: str) -> HttpResponse:
    """Whether gateway, ledger and rollups agree, and the ledger's files."""
    found = team_for(request.user, team_id)
    form = PeriodForm(request.GET)
    start, end = form.span
    files = LedgerFile.objects.filter(team_id=found.pk, rows__isnull=False).order_by("-hour", "-part")
    return page(
        request,
        "usage/ledger.html",
        team=found,
        form=form,
        found=reconcile(found.pk, start, end),
        files=paginate(request, files),
    )


@login_required
@require_GET
def ledger_file(request: SignedInRequest, file_id: str) -> HttpResponseBase:
    """Download an hour of the ledger."""
    found = ledger_file_for(request.user, file_id)
    return download(request, key=found.key, filename=found.filename, content_type=PARQUET, etag=found.sha256)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def limit(request: SignedInRequest, team_id: str) -> HttpResponse:
    """How many requests the team may make in a month."""
    found = team_for(request.user, team_id, need="owner")
    form = LimitForm(request.POST or None, instance=Team(monthly_requests=found.monthly_requests))
    if request.method == "POST" and form.is_valid():
        most = form.cleaned_data["monthly_requests"]
        if attempt(form, lambda: actions.change_limits(actor=request.user, team=found, limits=[(None, most)])):
            messages.success(request, _("The limit is changed."))
            return go(request, reverse("usage:team", args=[found.pk]))
    return page(request, "usage/limit.html", team=found, form=form, status=422 if form.errors else 200)


def _page(
    request: SignedInRequest, endpoints: Any, scope: dict[str, str], jobs: dict[str, Any], **context: Any
) -> HttpResponse:
    form = SpanForm(request.GET, endpoints=[(endpoint.pk, endpoint.name) for endpoint in endpoints])
    start, end = form.span
    where = {**scope, **({"endpoint": form.endpoint_id} if form.endpoint_id else {})}
    rows = reports.rollups(start=start, end=end, **where)
    total = reports.total(rows)
    by_status = reports.usage(rows, by=form.step, group="status")
    query = urlencode({**where, "from": start.isoformat(), "to": end.isoformat(), "by": form.step, "group": "key"})
    return page(
        request,
        "usage/usage.html",
        fragment="usage/_usage.html",
        form=form,
        total={**total, "error_share": total["errors"] / total["requests"] if total["requests"] else 0.0},
        requests_chart=summary.requests_chart(by_status, start, end, form.step),
        latency_chart=summary.latency_chart(reports.usage(rows, by=form.step), start, end, form.step),
        step_label=_("per hour") if form.step == "hour" else _("per day"),
        by_key=summary.by_key(reports.usage(rows, group="key")),
        by_endpoint=summary.by_endpoint(reports.usage(rows, group="endpoint")),
        by_status=summary.by_status(reports.usage(rows, group="status")),
        compute=compute.report(Attempt.objects.filter(ended__gte=start, ended__lt=end, **jobs)),
        currency=settings.SLIPWAY_CURRENCY,
        csv_url=f"{reverse('usage-api:csv')}?{query}",
        **context,
    )
