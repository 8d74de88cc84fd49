"""Control API: the ledger itself. Whether all counts agree, and its hours as Parquet files."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.core.downloads import download
from apps.core.schema import paged
from apps.teams.access import team_for
from apps.teams.authentication import actor_of
from apps.usage.access import ledger_file_for
from apps.usage.api import invalid, moment
from apps.usage.models import LedgerFile
from apps.usage.reconciliation import MAX_SPAN, Counts, reconcile, settled

PARQUET: Final = "application/vnd.apache.parquet"
_TEAM: Final = OpenApiParameter("team", str, required=True)
_SPAN: Final = [OpenApiParameter(name, OpenApiTypes.DATETIME) for name in ("from", "to")]


class CountsOut(serializers.Serializer[Any]):
    """Requests as each has counted them."""

    gateway = serializers.IntegerField(help_text="by the serving processes themselves")
    ledger = serializers.IntegerField(help_text="entries of the ledger")
    rollup = serializers.IntegerField(help_text="the sums per minute that usage, limits and quotas are made of")


class MinuteOut(CountsOut):
    """A minute in which the counts are not the same."""

    start = serializers.DateTimeField()


class ReconciliationOut(CountsOut):
    """A period of whole minutes."""

    agrees = serializers.BooleanField()
    minutes = MinuteOut(many=True, help_text="those that differ, the first 1,000")
    exported = serializers.IntegerField(help_text="ledger entries of the period's hours that are in files")
    exportable = serializers.IntegerField(help_text="ledger entries of the period's hours")

    def get_fields(self) -> dict[str, Any]:
        """`from` is no name for an attribute."""
        times = {"from": serializers.DateTimeField(), "to": serializers.DateTimeField()}
        return {**times, **super().get_fields()}


class LedgerFileOut(serializers.Serializer[Any]):
    """The ledger of a team's hour as a Parquet file."""

    id = serializers.CharField()
    hour = serializers.DateTimeField()
    part = serializers.IntegerField(help_text="1, or more where entries came late")
    rows = serializers.IntegerField()
    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()


@extend_schema(parameters=[_TEAM, *_SPAN], responses=ReconciliationOut, summary="Whether all counts of usage agree")
@api_view(["GET"])
def reconciliation(request: Request) -> Response:
    query = api.read_query(request, {"team", "from", "to"})
    team = team_for(actor_of(request), _needed(query, "team"))
    start, end = _span(query)
    found = reconcile(team.pk, start, end)
    minutes = [{"start": minute, **_counts(counts)} for minute, counts in found.differing[:1000]]
    files = {"exported": found.exported, "exportable": found.exportable}
    sums = {"agrees": found.agrees, **_counts(found.total), **files}
    return Response({"from": found.start, "to": found.end, **sums, "minutes": minutes})


@extend_schema(
    parameters=[_TEAM, OpenApiParameter("page", int)], responses=paged(LedgerFileOut), summary="The ledger's files"
)
@api_view(["GET"])
def files(request: Request) -> Response:
    query = api.read_query(request, {"team", "page"})
    team = team_for(actor_of(request), _needed(query, "team"), need="admin")
    rows = LedgerFile.objects.filter(team_id=team.pk, rows__isnull=False).order_by("-hour", "-part")
    return api.page(request, rows, lambda row: dict(LedgerFileOut(row).data))


@extend_schema(operation_id="usage_file", responses={(200, PARQUET): OpenApiTypes.BINARY, 206: None}, summary="A file")
@api_view(["GET"])
def file(request: Request, file_id: str) -> HttpResponseBase:
    found = ledger_file_for(actor_of(request), file_id)
    return download(request._request, key=found.key, filename=found.filename, content_type=PARQUET, etag=found.sha256)


def _needed(query: dict[str, str], name: str) -> str:
    if not query.get(name):
        raise invalid(name, "is needed")
    return query[name]


def _span(query: dict[str, str]) -> tuple[datetime, datetime]:
    """From and to, by default the last 24 hours. Raises UserError."""
    end = moment(query, "to") or settled()
    start = moment(query, "from") or end - timedelta(days=1)
    if end - start > MAX_SPAN:
        raise invalid("from", f"at most {MAX_SPAN.days} days before the end")
    if start < timezone.now() - timedelta(days=settings.SLIPWAY_LEDGER_DAYS):
        raise invalid("from", f"the ledger is kept for {settings.SLIPWAY_LEDGER_DAYS} days")
    return start, end


def _counts(counts: Counts) -> dict[str, int]:
    return {"gateway": counts.gateway, "ledger": counts.ledger, "rollup": counts.rollup}
