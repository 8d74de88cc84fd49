"""Sums of usage over time and by group: what the usage pages, the API and the CSV all show."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.postgres.fields import ArrayField
from django.db.models import Aggregate, BigIntegerField, Case, Max, Min, Q, QuerySet, Sum, Value, When
from django.db.models.functions import TruncDay, TruncHour, TruncMinute

from apps.usage.histogram import percentile_ms
from apps.usage.models import MinuteRollup
from workers.contracts.usage import BATCH

STEPS: Final = {"minute": TruncMinute, "hour": TruncHour, "day": TruncDay}
_WIDTHS: Final = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
# The most that one answer holds: a week by the minute, more than a year by the hour.
MAX_STEPS: Final = 7 * 24 * 60
GROUPS: Final = {
    "endpoint": "endpoint_id",
    "key": "key_id",
    "model": "model_id",
    "status": "status",
    "source": "source",
}
_ERROR = Q(status__gte=400)


class _SumArrays(Aggregate):
    function = "sum_arrays"
    output_field = ArrayField(BigIntegerField())


def rollups(
    *,
    team: str | None = None,
    project: str | None = None,
    endpoint: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> QuerySet[MinuteRollup]:
    """The rollups of a team, project or endpoint from `start` to before `end`."""
    rows = MinuteRollup.objects.all()
    wanted = {"team_id": team, "project_id": project, "endpoint_id": endpoint, "minute__gte": start, "minute__lt": end}
    return rows.filter(**{name: value for name, value in wanted.items() if value is not None})


def count_steps(rows: QuerySet[MinuteRollup], by: str) -> int:
    """The steps of time from the first to the last of the rollups."""
    ends = rows.aggregate(first=Min("minute"), last=Max("minute"))
    return 0 if ends["first"] is None else (ends["last"] - ends["first"]) // _WIDTHS[by] + 1


def usage(rows: QuerySet[MinuteRollup], *, by: str | None = None, group: str | None = None) -> list[dict[str, Any]]:
    """One row per step of time (`by` a key of STEPS) and per group (a key of GROUPS), in order.

    {"start"?, <group>?, "requests", "items", "errors", "compute_ms", "p50_ms", "p95_ms", "p99_ms"}; errors are answers
    of 400 and above; latencies are those of all answers.
    """
    keys: list[str] = []
    if by:
        rows = rows.annotate(start=STEPS[by]("minute"))
        keys.append("start")
    if group:
        if group == "source":
            batch = When(key_id__startswith=BATCH, then=Value("batch"))
            rows = rows.annotate(source=Case(batch, default=Value("api")))
        keys.append(GROUPS[group])
    sums = rows.order_by().values(*keys).annotate(**_sums()) if keys else [rows.aggregate(**_sums())]
    found = [_row(row, group) for row in sums if row["n"]]
    return sorted(found, key=lambda row: (row.get("start") or datetime.min, str(row.get(group or ""))))


def total(rows: QuerySet[MinuteRollup]) -> dict[str, Any]:
    """All of it in one row; zeros and None where there is nothing."""
    return next(iter(usage(rows)), NOTHING)


def _sums() -> dict[str, Any]:
    return {
        "n": Sum("requests"),
        "item_count": Sum("items"),
        "errors": Sum("requests", filter=_ERROR),
        "compute": Sum("compute_us"),
        "latency": _SumArrays("latency_histogram"),
    }


def _row(sums: dict[str, Any], group: str | None) -> dict[str, Any]:
    latency: Iterable[int] = sums["latency"] or []
    counts = list(latency)
    row: dict[str, Any] = {"start": sums["start"]} if "start" in sums else {}
    if group:
        row[group] = sums[GROUPS[group]]
    return row | {
        "requests": int(sums["n"] or 0),
        "items": int(sums.get("item_count") or 0),
        "errors": int(sums.get("errors") or 0),
        "compute_ms": round((sums.get("compute") or 0) / 1000, 3),
        "p50_ms": percentile_ms(counts, 0.50),
        "p95_ms": percentile_ms(counts, 0.95),
        "p99_ms": percentile_ms(counts, 0.99),
    }


NOTHING: Final = _row({"n": 0, "latency": []}, None)
"""The figures where nothing was asked."""
