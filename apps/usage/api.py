"""Control API: usage over time and by group, as JSON and as CSV."""

import csv
import io
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.dateparse import parse_date, parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.core.schema import paged
from apps.endpoints.models import Endpoint
from apps.projects.access import project_for
from apps.teams.access import require, team_for
from apps.teams.authentication import actor_of
from apps.teams.models import Membership, User
from apps.training import compute
from apps.training.models import Attempt
from apps.usage import reports
from apps.usage.models import MinuteRollup
from workers.contracts.errors import UserError

_FIGURES: Final = ("requests", "items", "errors", "compute_ms", "p50_ms", "p95_ms", "p99_ms")
_PARAMETERS: Final = [
    *(OpenApiParameter(name, str) for name in ("team", "project", "endpoint")),
    OpenApiParameter("from", OpenApiTypes.DATETIME),
    OpenApiParameter("to", OpenApiTypes.DATETIME),
    OpenApiParameter("by", str, enum=list(reports.STEPS), description="the step of time; default: day"),
    OpenApiParameter("group", str, enum=list(reports.GROUPS)),
]
_NAMES: Final = {"team", "project", "endpoint", "from", "to", "by", "group"}


class UsageOut(serializers.Serializer[Any]):
    """One step of time, of one group where `group` is given."""

    start = serializers.DateTimeField()
    endpoint = serializers.CharField(required=False)
    key = serializers.CharField(required=False, help_text="An API key, or the batch prediction that it was.")
    model = serializers.CharField(required=False)
    source = serializers.ChoiceField(["api", "batch"], required=False)  # type: ignore[assignment]  # a field here
    status = serializers.IntegerField(required=False)
    requests = serializers.IntegerField()
    items = serializers.IntegerField()
    errors = serializers.IntegerField(help_text="answers of 400 and above")  # type: ignore[assignment]  # a field here
    compute_ms = serializers.FloatField()
    p50_ms = serializers.FloatField(allow_null=True)
    p95_ms = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)


class ComputeOut(serializers.Serializer[Any]):
    """Attempts at jobs that ended in the time asked for, of one project on one kind of device."""

    project = serializers.CharField()
    name = serializers.CharField(help_text="of the project")
    device = serializers.ChoiceField(["gpu", "cpu"])
    jobs = serializers.IntegerField()
    useful_seconds = serializers.FloatField()
    lost_seconds = serializers.FloatField(help_text="of work that is in no result and no checkpoint")
    cost = serializers.DecimalField(max_digits=14, decimal_places=4, allow_null=True, help_text="of useful seconds")


@extend_schema(
    parameters=[OpenApiParameter(name, str) for name in ("team", "project")]
    + [OpenApiParameter(name, OpenApiTypes.DATETIME) for name in ("from", "to")],
    responses=paged(ComputeOut),
    summary="Computing time of jobs, useful and lost",
)
@api_view(["GET"])
def compute_time(request: Request) -> Response:
    query = api.read_query(request, {"team", "project", "from", "to"})
    attempts = Attempt.objects.filter(job__project__team__memberships__user=actor_of(request))
    if "team" in query:
        attempts = attempts.filter(job__project__team=team_for(actor_of(request), query["team"]))
    if "project" in query:
        attempts = attempts.filter(job__project=project_for(actor_of(request), query["project"]))
    times = {"ended__gte": moment(query, "from"), "ended__lt": moment(query, "to")}
    attempts = attempts.filter(**{name: value for name, value in times.items() if value})
    rows = [{**row, "cost": None if row["cost"] is None else str(row["cost"])} for row in compute.report(attempts)]
    return Response({"results": rows, "next": None})


@extend_schema(parameters=_PARAMETERS, responses=paged(UsageOut), summary="Requests, items, errors and latency")
@api_view(["GET"])
def usage(request: Request) -> Response:
    rows, _group = _asked(request)
    return Response({"results": rows, "next": None})


@extend_schema(
    parameters=_PARAMETERS, responses={(200, "text/csv"): OpenApiTypes.BINARY}, summary="The same usage as CSV"
)
@api_view(["GET"])
def usage_csv(request: Request) -> HttpResponse:
    rows, group = _asked(request)
    columns = ["start", *([group] if group else []), *_FIGURES]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    # Identifiers and numbers only: nothing that a spreadsheet could take for a formula.
    writer.writerows({**row, "start": row["start"].isoformat()} for row in rows)
    response = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="usage.csv"'
    return response


def _asked(request: Request) -> tuple[list[dict[str, Any]], str | None]:
    """The rows that the query asks for, and the group. Raises UserError."""
    query = api.read_query(request, _NAMES)
    by, group = query.get("by", "day"), query.get("group")
    if by not in reports.STEPS:
        raise invalid("by", f"one of {', '.join(reports.STEPS)}")
    if group is not None and group not in reports.GROUPS:
        raise invalid("group", f"one of {', '.join(reports.GROUPS)}")
    rows = _scope(actor_of(request), query)
    times = {"minute__gte": moment(query, "from"), "minute__lt": moment(query, "to")}
    rows = rows.filter(**{name: value for name, value in times.items() if value})
    steps = reports.count_steps(rows, by)
    if steps > reports.MAX_STEPS:
        most = f"at most {reports.MAX_STEPS:,} steps at once, not {steps:,}"
        raise invalid("by", most, "Say a shorter time by `from` and `to`, or ask by the hour or day.")
    return reports.usage(rows, by=by, group=group), group


def _scope(actor: User, query: dict[str, str]) -> QuerySet[MinuteRollup]:
    """The rollups of what is named, else of all of the actor's teams. What was deleted still counts."""
    where: dict[str, Any] = {}
    if "team" in query:
        where["team"] = team_for(actor, query["team"]).pk
    if "project" in query:
        where["project"] = project_for(actor, query["project"]).pk
    if "endpoint" in query:
        found = Endpoint.objects.select_related("project").filter(pk=query["endpoint"]).first()
        if found is None:
            raise UserError("not_found")
        require(actor, found.project.team_id, "read")
        where["endpoint"] = found.pk
    rows = reports.rollups(**where)
    if where:
        return rows
    return rows.filter(team_id__in=Membership.objects.filter(user=actor).values("team_id"))


def moment(query: dict[str, str], name: str) -> datetime | None:
    """A moment of the query, UTC where no zone is given; a date is its midnight. Raises UserError."""
    text = query.get(name)
    if text is None:
        return None
    try:
        found = parse_datetime(text)
        day = None if found else parse_date(text)
    except ValueError:
        found = day = None
    if found is None and day is None:
        raise invalid(name, "a date or time by ISO 8601")
    found = found or datetime.combine(day, datetime.min.time())  # type: ignore[arg-type]
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def invalid(field: str, message: str, hint: str = "") -> UserError:
    """The refusal of one parameter."""
    return UserError("invalid", fields=[{"field": field, "message": message}], hint=hint or None)
