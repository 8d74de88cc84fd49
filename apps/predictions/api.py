"""Control API: batch predictions and their answers."""

from datetime import datetime
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view, parser_classes
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.core.downloads import download
from apps.core.parsers import FILE_PARSERS, file_request
from apps.core.schema import paged
from apps.datasets.access import upload_for
from apps.datasets.options import taken
from apps.datasets.uploads import store_upload
from apps.endpoints.access import endpoint_for
from apps.predictions import actions
from apps.predictions import serializers as s
from apps.predictions.access import prediction_for
from apps.predictions.models import Prediction
from apps.projects.access import project_for
from apps.registry.access import model_for
from apps.teams.authentication import actor_of
from apps.training import live
from apps.training.actions import cancel_job, retry_job
from apps.training.models import Job
from workers.contracts.errors import UserError

_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson", "parquet": "application/octet-stream"}


@extend_schema(
    methods=["GET"],
    parameters=[OpenApiParameter(name, str) for name in ("project", "state")] + [OpenApiParameter("page", int)],
    responses=paged(s.PredictionOut),
    summary="Batch predictions, newest first",
)
@extend_schema(
    methods=["POST"],
    request=file_request(s.PredictionIn),
    responses={202: s.NewPredictionOut},
    summary="Predict every row of a file",
)
@api_view(["GET", "POST"])
@parser_classes(FILE_PARSERS)
def predictions(request: Request) -> Response:
    if request.method == "POST":
        return _create(request)
    actor = actor_of(request)
    query = api.read_query(request, {"project", "state", "page"})
    rows = Prediction.objects.visible_to(actor).select_related("job").defer("preview")
    if "project" in query:
        rows = rows.filter(project=project_for(actor, query["project"]))
    if "state" in query:
        if query["state"] not in Job.State.values:
            raise UserError("invalid", fields=[{"field": "state", "message": f"one of {', '.join(Job.State.values)}"}])
        rows = rows.filter(job__state=query["state"])
    return api.page(request, rows.prefetch_related("job__attempts"), _json)


def _create(request: Request) -> Response:
    api.refuse_oversize(request)
    actor = actor_of(request)
    fields = api.read(s.PredictionIn, request)
    endpoint_id, model_id = fields.pop("endpoint", None), fields.pop("model", "")
    revision = actions.answering(endpoint_for(actor, endpoint_id, need="write")) if endpoint_id is not None else None
    model = revision.model if revision else model_for(actor, model_id, need="write")
    # What is wrong with the rest is said before a large file is stored.
    variant = revision.variant if revision else fields.get("variant", "")
    actions.check_asked(model, variant, fields.get("mapping", {}))
    options = taken(fields)
    file, upload_id = fields.pop("file", None), fields.pop("upload", "")
    if file is None:
        upload = upload_for(actor, upload_id)
    else:
        team = model.project.team
        upload = store_upload(actor=actor, team=team, filename=file.name, stream=file, size=file.size)
    made = actions.create_prediction(
        actor=actor, model=model, upload=upload, revision=revision, options=options, **fields
    )
    return Response({"id": made.pk, "state": made.job.state}, status=202)


@extend_schema(responses=s.PredictionOut, summary="A batch prediction as it stands now")
@api_view(["GET"])
def prediction(request: Request, prediction_id: str) -> Response:
    api.read_query(request, set())
    return Response(_json(prediction_for(actor_of(request), prediction_id)))


@extend_schema(request=None, responses={202: s.PredictionOut}, summary="Stop a batch prediction")
@api_view(["POST"])
def cancel(request: Request, prediction_id: str) -> Response:
    found = prediction_for(actor_of(request), prediction_id, need="write")
    cancel_job(actor=actor_of(request), job=found.job)
    return Response(_json(prediction_for(actor_of(request), prediction_id)), status=202)


@extend_schema(request=None, responses={202: s.PredictionOut}, summary="Go on with one that ended without answers")
@api_view(["POST"])
def retry(request: Request, prediction_id: str) -> Response:
    found = prediction_for(actor_of(request), prediction_id, need="write")
    retry_job(actor=actor_of(request), job=found.job)
    return Response(_json(prediction_for(actor_of(request), prediction_id)), status=202)


@extend_schema(
    responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 206: None},
    summary="The file with its answers. One byte range may be asked for",
)
@api_view(["GET"])
def result(request: Request, prediction_id: str) -> HttpResponseBase:
    found = prediction_for(actor_of(request), prediction_id)
    if not found.has_result:
        raise UserError("prediction_not_ready")
    return download(
        request._request,
        key=found.result_key,
        filename=found.result_name,
        content_type=_TYPES[found.result_key.rsplit(".", 1)[-1]],
        etag=found.result_sha256,
    )


def expires(found: Prediction) -> datetime | None:
    """When file and answers are deleted; None while the job is not over."""
    return found.job.ended + actions.KEPT if found.job.is_over and found.job.ended else None


def _json(found: Prediction) -> dict[str, Any]:
    job = found.job
    situation = live.situation(job)
    stored = {"name": found.result_name, "sha256": found.result_sha256, "bytes": found.result_bytes}
    return {
        "id": found.pk,
        "state": job.state,
        "project": found.project_id,
        "job": job.pk,
        "model": found.model_id,
        "variant": found.variant,
        "endpoint": found.endpoint_id,
        "source": found.source_name,
        "mapping": found.mapping,
        "progress": job.progress,
        "phase": job.phase,
        "eta_seconds": situation.eta_seconds,
        "attempt": job.attempt,
        "waiting_because": situation.waiting_because,
        "rows": found.rows,
        "failed": found.failed,
        "columns": found.columns,
        "labels": found.labels,
        "seconds": found.seconds,
        "result": stored if found.has_result else None,
        "error": job.error,
        "created": found.created,
        "ended": job.ended,
        "expires": expires(found),
    }
