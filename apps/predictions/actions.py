"""What changes batch predictions. Their jobs are cancelled like any other (apps.training.actions)."""

from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from apps.core import audit
from apps.core.artifacts import storage
from apps.core.sweeping import sweep
from apps.core.throttle import throttled
from apps.datasets.models import Upload
from apps.datasets.uploads import ensure_stored
from apps.endpoints.models import Endpoint, Revision
from apps.predictions.models import Prediction
from apps.predictions.specs import requests_left
from apps.registry.models import ModelVersion
from apps.teams.access import require
from apps.teams.models import User
from apps.training.actions import queue_batch
from apps.training.models import Job
from apps.training.states import OVER
from workers.contracts import names
from workers.contracts.errors import JobError, UserError
from workers.contracts.job import GUESSED, FileOptions
from workers.contracts.kinds import KINDS, DatasetKind
from workers.contracts.manifest import BatchResult

KEPT: Final = timedelta(days=30)
"""How long files and answers are kept after the end of a job."""
_MOST_AT_ONCE: Final = 100


def answering(endpoint: Endpoint) -> Revision:
    """The revision that answers most requests. Raises UserError `not_found` where none does."""
    found = endpoint.revisions.select_related("model__project__team").order_by("-traffic", "-number").first()
    if found is None:
        raise UserError("not_found", "No model is deployed on this endpoint.")
    return found


@throttled("job")
def create_prediction(
    *,
    actor: User,
    model: ModelVersion,
    upload: Upload,
    revision: Revision | None = None,
    variant: str = "",
    mapping: dict[str, str] | None = None,
    options: FileOptions = GUESSED,
    format: str = "",
    scores: bool = False,
    k: int | None = None,
) -> Prediction:
    """Have a model answer every row of an upload, which becomes the prediction's own and is read as `options` say.

    `revision`: of the endpoint whose usage it is, and whose variant answers; else `variant` of the model may. Raises
    UserError `invalid`, `conflict` (archived project), `certificate_missing`, `quota_exceeded`, `not_found`,
    `upload_incomplete`, `upload_gone`.
    """
    project = model.project
    require(actor, project.team_id, "write")
    variant = revision.variant if revision else variant
    check_asked(model, variant, mapping or {})
    if upload.team_id != project.team_id or upload.created_by_id != actor.pk:
        raise UserError("not_found")
    ensure_stored(upload)
    with transaction.atomic():
        # From here on its bytes are kept, and deleted, with the prediction.
        claimed, _ = Upload.objects.filter(pk=upload.pk).delete()
        if not claimed:
            raise UserError("upload_gone")
        job = queue_batch(actor=actor, version=model.dataset_version, name=upload.filename[:120])
        prediction = Prediction.objects.create(
            project=project,
            job=job,
            model=model,
            endpoint=revision.endpoint if revision else None,
            revision=revision,
            variant=variant,
            source_key=upload.key,
            source_name=upload.filename,
            source_bytes=upload.size,
            mapping=mapping or {},
            options=options.model_dump(exclude_defaults=True),
            format=format,
            scores=scores,
            k=k,
            created_by=actor,
        )
        _record(prediction, actor, "prediction.created", bytes=upload.size)
    return prediction


def check_asked(model: ModelVersion, variant: str, mapping: dict[str, str]) -> None:
    """Whether a model may be asked about a file now. Raises UserError as `create_prediction`."""
    _check_mapping(model, mapping)
    if model.project.archived:
        raise UserError("conflict", "The project is archived.")
    if not model.is_deployable:
        raise UserError("certificate_missing")
    model.require_variant(variant)
    if requests_left(model.project.team) == 0:
        raise UserError("quota_exceeded")


def _check_mapping(model: ModelVersion, mapping: dict[str, str]) -> None:
    """What columns can be mapped to."""
    known = roles(model)
    unknown = sorted(set(mapping) - set(known))
    if unknown:
        can = ", ".join(known[:50]) or "nothing"
        message = f"This model does not take {', '.join(unknown)[:200]}: {can} can be mapped."
        raise UserError("invalid", fields=[{"field": "mapping", "message": message}])
    if {"user", "items"} <= set(mapping):
        raise UserError("invalid", fields=[{"field": "mapping", "message": "Map either user or items."}])


def roles(model: ModelVersion) -> list[str]:
    """What columns of a file can be to a model; nothing where it takes images."""
    if model.kind == "tabular":
        return [column["name"] for column in model.manifest["preprocessing"]["columns"]]
    kind: DatasetKind = model.kind  # type: ignore[assignment]  # one of its choices
    return [role for role in KINDS[kind].asked if role != "text_pair" or model.takes_pairs]


@transaction.atomic
def finish_prediction(*, job: Job, result: BatchResult) -> Prediction:
    """The job has succeeded: its answers can be downloaded. Raises JobError where the result names no file."""
    name = f"predictions.{result.format}"
    if name not in result.files:
        raise JobError("job_crashed", "The prediction left no file.")
    prediction = Prediction.objects.select_related("project__team").get(job=job)
    changes: dict[str, Any] = {
        **result.model_dump(include={"rows", "failed", "seconds", "columns", "labels", "preview"}),
        "result_key": f"{names.attempt_prefix(job.pk, job.attempt)}/output/{name}",
        "result_sha256": str(result.files[name]["sha256"]),
        "result_bytes": int(result.files[name]["bytes"]),
    }
    for field, value in changes.items():
        setattr(prediction, field, value)
    prediction.save(update_fields=list(changes))
    _record(prediction, job.created_by, "prediction.finished", rows=result.rows, failed=result.failed)
    return prediction


@transaction.atomic
def retry_prediction(*, actor: User, job: Job) -> Job:
    """Another job for a prediction whose last one ended without answers, from that one's checkpoint.

    Raises UserError `conflict`.
    """
    prediction = Prediction.objects.select_for_update(of=("self",)).select_related("model").filter(job=job).first()
    if prediction is None or prediction.result_key:
        raise UserError("conflict", "Only a prediction that has no answers can be started again.")
    if prediction.forgotten:
        raise UserError("conflict", "The file is no longer kept: upload it again.")
    again = queue_batch(actor=actor, version=prediction.model.dataset_version, name=job.name)
    Job.objects.filter(pk=again.pk).update(checkpoint=job.checkpoint)
    prediction.earlier_jobs.append(job.pk)
    prediction.job = again
    prediction.save(update_fields=["job", "earlier_jobs"])
    _record(prediction, actor, "prediction.retried")
    return again


def forget_old() -> int:
    """Delete the files and answers of predictions that ended KEPT ago; how many those were."""
    ended = Prediction.objects.filter(forgotten=None, job__state__in=OVER, job__ended__lt=timezone.now() - KEPT)
    return sweep(ended.order_by("job__ended")[:_MOST_AT_ONCE], _forget, "prediction_not_forgotten")


def _forget(prediction: Prediction) -> None:
    """Delete its file, and all that its jobs have left: answers and checkpoints."""
    storage().delete(prediction.source_key)
    for job in (prediction.job_id, *prediction.earlier_jobs):
        for key in storage().list(names.job_prefix(job)):
            storage().delete(key)
    Prediction.objects.filter(pk=prediction.pk).update(forgotten=timezone.now(), preview={})


def _record(prediction: Prediction, actor: User | None, event: str, **data: Any) -> None:
    project = prediction.project
    audit.record(actor=actor, team=project.team, project=project, event=event, noun=prediction, **data)
