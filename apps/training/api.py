"""Control API: task templates and jobs."""

from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api import page, positive_int, read, read_query
from apps.core.schema import paged
from apps.datasets.access import dataset_for
from apps.datasets.models import DatasetVersion
from apps.projects.access import project_for
from apps.teams.authentication import actor_of
from apps.training import actions, compute, live
from apps.training import series as metric_series
from apps.training import trials as searched
from apps.training.access import job_for
from apps.training.models import Job
from apps.training.serializers import (
    JobSerializer,
    NewJobSerializer,
    RetrySerializer,
    SeriesListSerializer,
    TemplateSerializer,
    TrialListSerializer,
)
from apps.training.stream import event_stream
from apps.training.watchers import still_allowed
from workers.contracts.errors import UserError
from workers.task_templates import TEMPLATES

_LAST_EVENT = OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER)
_IDEMPOTENCY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)


@extend_schema(responses=TemplateSerializer(many=True))
@api_view(["GET"])
def task_templates(request: Request) -> Response:
    """Every task template with the JSON Schema of its parameters."""
    read_query(request, set())
    return Response([template.describe() for template in TEMPLATES.values()])


@extend_schema(
    methods=["GET"],
    operation_id="jobs_list",
    parameters=[OpenApiParameter(name, str) for name in ("project", "dataset", "kind", "state")]
    + [OpenApiParameter("page", int)],
    responses=paged(JobSerializer),
)
@extend_schema(
    methods=["POST"],
    operation_id="jobs_create",
    parameters=[_IDEMPOTENCY],
    request=NewJobSerializer,
    responses={202: JobSerializer},
)
@api_view(["GET", "POST"])
def jobs(request: Request) -> Response:
    """Jobs, newest first; or start a training."""
    return _create(request) if request.method == "POST" else _list(request)


def _list(request: Request) -> Response:
    query = read_query(request, {"project", "dataset", "kind", "state", "page"})
    rows = Job.objects.visible_to(actor_of(request))
    if "project" in query:
        rows = rows.filter(project=project_for(actor_of(request), query["project"]))
    if "dataset" in query:
        rows = rows.filter(dataset_version__dataset=dataset_for(actor_of(request), query["dataset"]))
    for name, choices in (("kind", Job.Kind.values), ("state", Job.State.values)):
        if name in query:
            if query[name] not in choices:
                raise UserError("invalid", fields=[{"field": name, "message": f"one of {', '.join(choices)}"}])
            rows = rows.filter(**{name: query[name]})
    return page(request, rows.listed().prefetch_related("attempts"), job_json)


def _create(request: Request) -> Response:
    body = read(NewJobSerializer, request)
    project = project_for(actor_of(request), body["project"], need="write")
    dataset = dataset_for(actor_of(request), body["dataset"])
    if dataset.project_id != project.pk:
        raise UserError("not_found")
    version = dataset.versions.filter(state=DatasetVersion.State.READY).select_related("dataset").first()
    if version is None:
        raise UserError("dataset_not_ready")
    job = actions.create_training(
        actor=actor_of(request),
        project=project,
        version=version,
        template=body["template"],
        preset=body["preset"],
        parameters=body["parameters"],
        name=body["name"],
        priority=body["priority"],
        minutes=body["limits"].get("minutes"),
        cost=body["limits"].get("cost"),
        idempotency_key=_idempotency_key(request),
    )
    return Response(job_json(job), status=202)


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 100 or not (key.isascii() and key.isprintable()):
        fields = [{"field": "Idempotency-Key", "message": "at most 100 printable ASCII characters"}]
        raise UserError("invalid", fields=fields)
    return key


@extend_schema(operation_id="jobs_get", responses=JobSerializer)
@api_view(["GET"])
def job(request: Request, job_id: str) -> Response:
    """A job as it stands now."""
    return Response(job_json(job_for(actor_of(request), job_id)))


@extend_schema(operation_id="jobs_cancel", request=None, responses={202: JobSerializer})
@api_view(["POST"])
def cancel(request: Request, job_id: str) -> Response:
    """Stop a job: at once while it waits, within seconds while it runs."""
    found = job_for(actor_of(request), job_id, need="write")
    actions.cancel_job(actor=actor_of(request), job=found)
    return Response(job_json(job_for(actor_of(request), job_id)), status=202)


@extend_schema(operation_id="jobs_retry", request=RetrySerializer, responses={202: JobSerializer})
@api_view(["POST"])
def retry(request: Request, job_id: str) -> Response:
    """Start the work of a job that is over as a new job; `parameters` replace single ones."""
    found = job_for(actor_of(request), job_id, need="write")
    again = actions.retry_job(
        actor=actor_of(request), job=found, parameters=read(RetrySerializer, request)["parameters"]
    )
    return Response(job_json(again), status=202)


@extend_schema(
    operation_id="jobs_series",
    parameters=[
        OpenApiParameter("names", str, description="separated by commas; all where left out"),
        OpenApiParameter("points", int, description="at most so many of each series, 4 to 5000"),
    ],
    responses=SeriesListSerializer,
)
@api_view(["GET"])
def series(request: Request, job_id: str) -> Response:
    """Metric series, down-sampled: each stretch keeps its lowest and its highest value."""
    query = read_query(request, {"names", "points"})
    found = job_for(actor_of(request), job_id)
    names = query["names"].split(",")[: metric_series.MOST_SERIES] if query.get("names") else None
    points = max(4, positive_int(query.get("points"), "points", default=500, most=5000))
    return Response({"series": metric_series.series(found, names, points)})


@extend_schema(operation_id="jobs_trials", responses=TrialListSerializer)
@api_view(["GET"])
def trials(request: Request, job_id: str) -> Response:
    """What the job's search has tried so far; empty where nothing is searched."""
    read_query(request, set())
    return Response(searched.as_json(job_for(actor_of(request), job_id)))


@extend_schema(
    operation_id="jobs_events",
    parameters=[_LAST_EVENT],
    responses={(200, "text/event-stream"): OpenApiTypes.STR, 204: None},
)
@api_view(["GET"])
def events(request: Request, job_id: str) -> HttpResponseBase:
    """The job's course as server-sent events, until it is over. 204 where there is nothing left to tell."""
    found = job_for(actor_of(request), job_id)
    sent = request.headers.get("Last-Event-ID", "")
    after = int(sent) if sent.isascii() and sent.isdigit() and len(sent) <= 18 else 0
    if after and found.is_over and not live.new_events(found.pk, after).exists():
        return HttpResponse(status=204)  # tells an EventSource not to come back
    stream = event_stream(found.pk, after, lambda: still_allowed(request, job_id))
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    return StreamingHttpResponse(stream, content_type="text/event-stream", headers=headers)


class _AnyAccept(BaseContentNegotiation):
    """An EventSource accepts only event streams; it gets one, or an error in JSON."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]


events.cls.content_negotiation_class = _AnyAccept


def job_json(found: Job) -> dict[str, Any]:
    """A job as the API tells it."""
    model = getattr(found, "model", None)
    seconds = compute.seconds_of(found)
    cost = compute.cost_of(seconds.useful, found.price_per_hour)
    return {
        "id": found.pk,
        "kind": found.kind,
        "name": found.name,
        "project": found.project_id,
        "dataset": found.dataset_version.dataset_id,
        "dataset_version": found.dataset_version.number,
        "template": found.template,
        "preset": found.preset,
        "parameters": found.parameters,
        "priority": found.priority,
        "state": found.state,
        "progress": found.progress,
        "phase": found.phase,
        "attempt": found.attempt,
        "device": found.device,
        "runner": found.runner,
        **live.situation(found).as_json(),
        "seconds": seconds.as_json(),
        "cost": None if cost is None else str(cost),
        "metrics": found.metrics,
        "model": model.pk if model else None,
        "error": found.error,
        "cancel_requested": found.cancel_requested is not None,
        "created": found.created,
        "started": found.started,
        "ended": found.ended,
    }
