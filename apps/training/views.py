"""Pages of training: the template gallery, the job form, a job as it runs, the jobs of a project."""

from typing import Any, Final

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.core.pages import SignedInRequest, go, page, paginate
from apps.datasets.kinds import WORDS
from apps.datasets.models import DatasetVersion
from apps.projects.access import project_for
from apps.projects.models import Project
from apps.training import actions, comparison, compute, live, trials
from apps.training.access import job_for
from apps.training.forms import JobForm, ready_datasets
from apps.training.models import Job
from workers.contracts.errors import UserError
from workers.task_templates import TEMPLATES
from workers.task_templates.base import TaskTemplate

# In so many folds a training looks for labels that are wrong in all rows.
FOLDS_TO_CHECK: Final = 5


@login_required
@require_GET
def gallery(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The task templates, those that fit the project's data first."""
    project = project_for(request.user, project_id)
    cards = []
    for template in TEMPLATES.values():
        datasets = ready_datasets(project, template.kind)
        cards.append({"template": template, "datasets": datasets, "kind": template.kind, "words": WORDS[template.kind]})
    cards.sort(key=lambda card: not card["datasets"])
    return page(request, "training/gallery.html", project=project, cards=cards)


@login_required
@require_http_methods(["GET", "POST"])
def new(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The job form. Without `?template=`, the dataset's kind decides; where nothing does, the gallery does."""
    project = project_for(request.user, project_id, need="write")
    dataset = project.datasets.filter(pk=request.GET.get("dataset", "")).first()
    template = _template(request.GET.get("template", ""), dataset.kind if dataset else "")
    if template is None or not ready_datasets(project, template.kind):
        return go(request, reverse("training:gallery", args=[project.pk]))
    form = JobForm(
        request.POST or None, template=template, project=project, initial={"dataset": dataset.pk if dataset else None}
    )
    if request.method == "POST" and form.is_valid():
        job = _create(request, project, template, form)
        if job:
            return go(request, reverse("training:job", args=[job.pk]))
    status = 422 if form.errors else 200
    return page(request, "training/new.html", project=project, task=template, form=form, status=status)


def _template(key: str, kind: str) -> TaskTemplate | None:
    fitting = (template for template in TEMPLATES.values() if template.kind == kind)
    return TEMPLATES.get(key) or next(fitting, None)


def _create(request: SignedInRequest, project: Project, template: TaskTemplate, form: JobForm) -> Job | None:
    """Start the job that the form asks for; None, with the form's errors filled, where it cannot be."""
    asked = form.cleaned_data
    ready = DatasetVersion.objects.filter(
        dataset=asked["dataset"], dataset__project=project, state=DatasetVersion.State.READY
    )
    version = ready.order_by("-number").first()
    if version is None:
        # It was there when the form was checked.
        form.add_problems([{"field": "dataset", "message": _("This dataset was just removed.")}])
        return None
    try:
        return actions.create_training(
            actor=request.user,
            project=project,
            version=version,
            template=template.key,
            preset=asked["preset"],
            parameters=form.parameters(),
            name=asked["name"],
            minutes=asked["minutes"],
            cost=asked.get("cost"),
        )
    except UserError as error:
        form.add_problems(error.params.get("fields") or [{"field": "", "message": error.message}])
        return None


@login_required
@require_GET
def jobs(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The training jobs of a project."""
    project = project_for(request.user, project_id)
    rows = project.jobs.filter(kind=Job.Kind.TRAIN).listed()
    return page(
        request, "training/jobs.html", project=project, rows=paginate(request, rows), fragment="training/_jobs.html"
    )


@login_required
@require_GET
def job(request: SignedInRequest, job_id: str) -> HttpResponse:
    """One job: live while it runs, its model or its failure card when it is over."""
    found = job_for(request.user, job_id)
    if found.kind == Job.Kind.BATCH and (prediction := getattr(found, "prediction", None)):
        return go(request, reverse("predictions:prediction", args=[prediction.pk]))
    seconds = compute.seconds_of(found)
    return page(
        request,
        "training/job.html",
        project=found.project,
        fragment="training/_job.html",
        job=found,
        model=getattr(found, "model", None),
        task=TEMPLATES.get(found.template),
        situation=live.situation(found),
        seconds=seconds,
        cost=compute.cost_of(seconds.useful, found.price_per_hour),
        currency=settings.SLIPWAY_CURRENCY,
        attempts=list(found.attempts.all()),
        headline=_headline(found),
        search=trials.summary(found),
        folded=found.metrics.get("cross_validation"),
        settings=[(name, comparison.shown(value)) for name, value in found.parameters.items()],
        lines=live.log_lines(found),
    )


_HEADLINES = {
    "validation/accuracy": _("Validation accuracy"),
    "validation/mean_average_precision": _("Validation mean average precision"),
    "validation/recall@20": _("Validation recall@20"),
    "train/loss": _("Training loss"),
    "validation/loss": _("Validation loss"),
}


def _headline(job: Job) -> list[tuple[Any, float]]:
    """The newest values of the two series that people ask about first, while the job runs."""
    newest = [(name, job.metrics.get(series)) for series, name in _HEADLINES.items()]
    return [(name, value) for name, value in newest if isinstance(value, float)][:2]


@login_required
@require_POST
def cancel(request: SignedInRequest, job_id: str) -> HttpResponse:
    """Ask a job to stop."""
    found = job_for(request.user, job_id, need="write")
    actions.cancel_job(actor=request.user, job=found)
    return go(request, reverse("training:job", args=[found.pk]))


@login_required
@require_POST
def retry(request: SignedInRequest, job_id: str) -> HttpResponse:
    """Start the same job anew, with the repair of its failure card if `repair` is asked for, or in `folds`: then each
    row is answered by a model that did not learn from it."""
    found = job_for(request.user, job_id, need="write")
    repair = (found.error or {}).get("repair") or {}
    parameters = repair.get("parameters") if "repair" in request.POST else None
    if "folds" in request.POST:
        parameters = {"folds": FOLDS_TO_CHECK}
    again = actions.retry_job(actor=request.user, job=found, parameters=parameters)
    return go(request, reverse("training:job", args=[again.pk]))
