"""Pages that put things side by side: the trials of a job, the jobs of a project."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.views.decorators.http import require_GET

from apps.core.pages import SignedInRequest, page
from apps.projects.access import project_for
from apps.training import comparison
from apps.training import trials as searched
from apps.training.access import job_for
from workers.contracts.errors import UserError
from workers.task_templates import TEMPLATES


@login_required
@require_GET
def trials(request: SignedInRequest, job_id: str) -> HttpResponse:
    """All trials of a job's search, sorted as `?sort=` asks."""
    found = job_for(request.user, job_id)
    sort = request.GET.get("sort", "")[:80]
    return page(
        request,
        "training/trials.html",
        project=found.project,
        fragment="training/_trials.html",
        job=found,
        sort=sort,
        task=TEMPLATES.get(found.template),
        **searched.comparison(found, sort),
    )


@login_required
@require_GET
def compare(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Jobs of a project side by side: those of `?job=`, else the newest that can be compared."""
    project = project_for(request.user, project_id)
    rows = comparison.candidates(project.jobs)
    asked = list(dict.fromkeys(request.GET.getlist("job")))[: comparison.MOST]
    chosen = [job_for(request.user, job_id) for job_id in asked]
    if any(job.project_id != project.pk for job in chosen):
        raise UserError("not_found")
    if not asked:
        chosen = comparison.default(rows)
    marked = {job.pk for job in chosen}
    return page(
        request,
        "training/compare.html",
        project=project,
        candidates=[{"job": job, "chosen": job.pk in marked} for job in rows],
        most=comparison.MOST,
        enough=len(chosen) > 1,
        **comparison.compare(chosen),
    )
