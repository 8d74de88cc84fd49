"""Pages of a project."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Page
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.core.forms import attempt
from apps.core.models import AuditEntry
from apps.core.pages import SignedInRequest, go, page, paginate
from apps.projects import actions, pipeline
from apps.projects.access import milestone_for, project_for
from apps.projects.forms import CommentForm, MilestoneForm, ProjectForm
from apps.projects.models import Project
from apps.teams.access import team_for

RECENT = 5


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, team_id: str) -> HttpResponse:
    """Start a project."""
    team = team_for(request.user, team_id, need="write")
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        made = attempt(form, lambda: actions.create_project(actor=request.user, team=team, **form.cleaned_data))
        if made:
            return go(request, reverse("projects:project", args=[made.pk]))
    return page(request, "projects/new.html", team=team, form=form, status=422 if form.errors else 200)


@login_required
@require_safe
def project(request: SignedInRequest, project_id: str) -> HttpResponse:
    """How far the project is, what comes next, what is there. htmx polls the pipeline while something runs."""
    found = project_for(request.user, project_id)
    steps = pipeline.steps(found)
    return page(
        request,
        "projects/project.html",
        fragment="projects/_pipeline.html",
        project=found,
        steps=steps,
        step=pipeline.current(steps),
        moving=pipeline.is_moving(steps),
        **_recent(found),
        comments=found.comments.select_related("author"),
        milestones=found.milestones.all(),
        comment_form=CommentForm(),
        milestone_form=MilestoneForm(),
        brief_form=ProjectForm(instance=found),
        activity=_entries(found)[:8],
        today=timezone.localdate(),
    )


def _recent(project: Project) -> dict[str, Any]:
    return {
        "datasets": project.datasets.with_versions()[:RECENT],
        "jobs": project.jobs.filter(kind="train").listed()[:RECENT],
        "models": [(one, pipeline.main_metric(one)) for one in project.model_versions.light()[:RECENT]],
        "endpoints": project.endpoints.filter(deleted=None)[:RECENT],
    }


def _entries(project: Project) -> Any:
    return AuditEntry.objects.filter(project=project).select_related("actor")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Name and brief, and putting the project away."""
    found = project_for(request.user, project_id, need="write" if request.method == "POST" else "read")
    form = ProjectForm(request.POST or None, initial={"name": found.name, "brief": found.brief})
    if request.method == "POST" and form.is_valid():
        done = attempt(form, lambda: actions.update_project(actor=request.user, project=found, **form.cleaned_data))
        if done:
            messages.success(request, _("Saved."))
            return go(request, reverse("projects:project", args=[found.pk]))
    return page(request, "projects/settings.html", project=found, form=form, status=422 if form.errors else 200)


@login_required
@require_POST
def archive(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Put the project away."""
    found = project_for(request.user, project_id, need="admin")
    actions.archive_project(actor=request.user, project=found)
    messages.success(request, _("%(name)s is archived.") % {"name": found.name})
    return go(request, reverse("teams:home", args=[found.team_id]))


@login_required
@require_POST
def restore(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Take the project back."""
    found = project_for(request.user, project_id, need="admin")
    actions.restore_project(actor=request.user, project=found)
    return go(request, reverse("projects:project", args=[found.pk]))


@login_required
@require_safe
def activity(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Everything that was done in the project, newest first."""
    found = project_for(request.user, project_id)
    rows: Page[AuditEntry] = paginate(request, _entries(found), 50)
    return page(request, "projects/activity.html", project=found, rows=rows)


@login_required
@require_POST
def comment(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Say something."""
    found = project_for(request.user, project_id, need="write")
    form = CommentForm(request.POST)
    if form.is_valid():
        actions.add_comment(actor=request.user, project=found, text=form.cleaned_data["text"])
        form = CommentForm()
    if request.htmx:
        context: dict[str, Any] = {"comments": found.comments.select_related("author"), "comment_form": form}
        return page(request, "projects/_comments.html", project=found, **context)
    return go(request, reverse("projects:project", args=[found.pk]) + "#comments")


@login_required
@require_POST
def milestone(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Set an aim."""
    found = project_for(request.user, project_id, need="write")
    form = MilestoneForm(request.POST)
    if form.is_valid():
        actions.add_milestone(actor=request.user, project=found, **form.cleaned_data)
        form = MilestoneForm()
    return _milestones(request, found, form)


@login_required
@require_POST
def complete(request: SignedInRequest, project_id: str, milestone_id: str) -> HttpResponse:
    """Say that an aim is reached."""
    found = milestone_for(request.user, project_id, milestone_id, need="write")
    actions.complete_milestone(actor=request.user, milestone=found)
    return _milestones(request, found.project, MilestoneForm())


def _milestones(request: SignedInRequest, project: Project, form: MilestoneForm) -> HttpResponse:
    if not request.htmx:
        return go(request, reverse("projects:project", args=[project.pk]) + "#milestones")
    context: dict[str, Any] = {
        "milestones": project.milestones.all(),
        "milestone_form": form,
        "today": timezone.localdate(),
    }
    return page(request, "projects/_milestones.html", project=project, **context)
