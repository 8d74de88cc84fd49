"""Pages of batch predictions: a file in two steps, one prediction as it runs and its answers, those of a project."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, page, paginate
from apps.datasets import browse
from apps.datasets.access import upload_for
from apps.datasets.models import Upload
from apps.datasets.options import asked_on_page
from apps.datasets.views import sample_of
from apps.endpoints.access import endpoint_for
from apps.endpoints.models import Revision
from apps.predictions import actions
from apps.predictions.access import prediction_for
from apps.predictions.api import expires
from apps.predictions.forms import TITLES, PredictionForm
from apps.predictions.models import Prediction
from apps.projects.access import project_for
from apps.registry.access import model_for
from apps.registry.models import ModelVersion
from apps.training import live
from workers.contracts.error_codes import CATALOGUE
from workers.contracts.errors import UserError
from workers.contracts.job import FileOptions

_SHOWN_LABELS = 12


@login_required
@require_safe
def predictions(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The batch predictions of a project, newest first."""
    project = project_for(request.user, project_id)
    listed = project.predictions.select_related("job", "model", "endpoint")
    rows = paginate(request, listed.defer("preview", *ModelVersion.heavy("model__")))
    context: dict[str, Any] = {"rows": rows, "best": project.model_versions.deployable().light().first()}
    return page(
        request, "predictions/predictions.html", project=project, fragment="predictions/_predictions.html", **context
    )


def _asked(
    request: SignedInRequest, model_id: str | None, endpoint_id: str | None
) -> tuple[ModelVersion, Revision | None, dict[str, str]]:
    """The model that is to answer, the revision of the endpoint that was named, and that part of addresses."""
    if endpoint_id is not None:
        revision = actions.answering(endpoint_for(request.user, endpoint_id, need="write"))
        return revision.model, revision, {"endpoint_id": endpoint_id}
    model = model_for(request.user, model_id or "", need="write")
    return model, None, {"model_id": model.pk}


def _address(step: str, asked: dict[str, str], **arguments: str) -> str:
    name = f"predictions:{step}-by-endpoint" if "endpoint_id" in asked else f"predictions:{step}"
    return reverse(name, kwargs={**asked, **arguments})


@login_required
@require_safe
def new(request: SignedInRequest, model_id: str | None = None, endpoint_id: str | None = None) -> HttpResponse:
    """Where a file is dropped; the script sends it by tus and goes on to `choose`."""
    model, revision, asked = _asked(request, model_id, endpoint_id)
    problem: UserError | None = None
    try:
        # Nobody shall send a large file to hear then that it cannot be answered.
        actions.check_asked(model, revision.variant if revision else "", {})
    except UserError as error:
        problem = error
    return page(
        request,
        "predictions/new.html",
        status=problem.status if problem else 200,
        problem=problem.card().model_dump() if problem else None,
        project=model.project,
        model=model,
        endpoint=revision.endpoint if revision else None,
        next=_address("choose", asked, upload_id="UPLOAD"),
        max_bytes=settings.SLIPWAY_MAX_UPLOAD_BYTES,
        kept_days=actions.KEPT.days,
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def choose(
    request: SignedInRequest, upload_id: str, model_id: str | None = None, endpoint_id: str | None = None
) -> HttpResponse:
    """The first rows of the file, and which column is what; posting starts it."""
    model, revision, asked = _asked(request, model_id, endpoint_id)
    upload = upload_for(request.user, upload_id)
    context: dict[str, Any] = {
        "model": model,
        "endpoint": revision.endpoint if revision else None,
        "upload": upload,
        "again": _address("new", asked),
    }
    try:
        options = asked_on_page(request)
        found = browse.preview(upload, options)
        if found["columns"] and not found["rows"]:
            raise UserError("no_rows", "The file holds no rows.", hint="There is nothing below its header.")
    except UserError as error:
        context["problem"] = error.card().model_dump()
        return page(request, "predictions/choose.html", project=model.project, status=422, **context)
    form = PredictionForm(request.POST or None, model=model, found=found, choose_variant=revision is None)
    if request.method == "POST" and form.is_valid():
        made = attempt(form, lambda: _create(request, model, revision, upload, form, options))
        if made:
            return go(request, reverse("predictions:prediction", args=[made.pk]))
    context |= {"form": form, "sample": sample_of(found, options)}
    return page(
        request, "predictions/choose.html", project=model.project, status=422 if form.errors else 200, **context
    )


def _create(
    request: SignedInRequest,
    model: ModelVersion,
    revision: Revision | None,
    upload: Upload,
    form: PredictionForm,
    options: FileOptions,
) -> Prediction:
    asked = {
        name: form.cleaned_data[name]
        for name in ("mapping", "format", "scores", "k", "variant")
        if name in form.cleaned_data
    }
    return actions.create_prediction(
        actor=request.user, model=model, upload=upload, revision=revision, options=options, **asked
    )


@login_required
@require_safe
def prediction(request: SignedInRequest, prediction_id: str) -> HttpResponse:
    """One batch prediction: live while it runs, its answers or its failure card when it is over."""
    found = prediction_for(request.user, prediction_id)
    counts = sorted(found.labels.items(), key=lambda pair: -pair[1])
    return page(
        request,
        "predictions/prediction.html",
        project=found.project,
        fragment="predictions/_prediction.html",
        prediction=found,
        titles=TITLES,
        job=found.job,
        situation=live.situation(found.job),
        attempts=list(found.job.attempts.all()),
        lines=live.log_lines(found.job),
        labels=counts[:_SHOWN_LABELS],
        most=counts[0][1] if counts else 0,
        others=len(counts) - _SHOWN_LABELS,
        answered=found.rows - found.failed,
        rate=round(found.rows / found.seconds) if found.seconds else None,
        added=set(found.columns),
        expires=expires(found),
        file_at_fault=_is_of_the_file(found.job.error),
    )


def _is_of_the_file(error: dict[str, Any] | None) -> bool:
    """Whether the same file would meet an error of a job again."""
    known = CATALOGUE.get(error["code"]) if error else None
    return known is not None and known.status == 422
