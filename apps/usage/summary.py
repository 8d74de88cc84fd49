"""Usage arranged for pages: today's figures of an endpoint, charts, tables with names instead of ids."""

from datetime import datetime, timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.endpoints.models import Endpoint
from apps.predictions.models import Prediction
from apps.projects.models import Project
from apps.teams.models import ApiKey, Team
from apps.usage import quota, reports


def today(endpoint: Endpoint) -> dict[str, Any]:
    """The figures of an endpoint since midnight UTC."""
    return reports.total(reports.rollups(endpoint=endpoint.pk, start=_midnight()))


def today_of(project: Project) -> dict[str, dict[str, Any]]:
    """The same of each endpoint of a project that was called since, by its id."""
    rows = reports.rollups(project=project.pk, start=_midnight())
    return {row["endpoint"]: row for row in reports.usage(rows, group="endpoint")}


def _midnight() -> datetime:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)


def requests_chart(rows: list[dict[str, Any]], start: datetime, end: datetime, step: str) -> dict[str, Any]:
    """ECharts option: requests per step, stacked by answered, refused (4xx) and failed (5xx). `rows` are by status."""
    kinds = {2: _("answered"), 4: _("refused"), 5: _("failed")}
    colours = {2: "--sw-chart-1", 4: "--sw-chart-3", 5: "--sw-bad"}
    times = _times(start, end, step)
    counts = {kind: dict.fromkeys(times, 0) for kind in kinds}
    for row in rows:
        kind = row["status"] // 100
        slot = counts.get(kind if kind in kinds else 4, {})
        if row["start"] in slot:
            slot[row["start"]] += row["requests"]
    series = [
        {
            "name": name,
            "type": "bar",
            "stack": "all",
            "barMaxWidth": 28,
            "color": colours[kind],
            "data": _points(counts[kind]),
        }
        for kind, name in kinds.items()
        if kind == 2 or any(counts[kind].values())
    ]
    return {
        "legend": {},
        "grid": {"top": 36},
        "tooltip": {"trigger": "axis"},
        "xAxis": _axis(times, step),
        "yAxis": {"type": "value", "minInterval": 1},
        "series": series,
    }


def latency_chart(rows: list[dict[str, Any]], start: datetime, end: datetime, step: str) -> dict[str, Any]:
    """ECharts option: p50, p95 and p99 in milliseconds per step, over the same span as the requests; a step without
    requests is a gap.
    """
    times, known = _times(start, end, step), {row["start"]: row for row in rows}
    series = [
        {
            "name": name,
            "type": "line",
            "symbolSize": 5,
            "data": _points({moment: known.get(moment, {}).get(figure) for moment in times}),
        }
        for figure, name in (("p50_ms", _("Median")), ("p95_ms", "95 %"), ("p99_ms", "99 %"))
    ]
    return {
        "legend": {},
        "grid": {"top": 36},
        "tooltip": {"trigger": "axis"},
        "xAxis": _axis(times, step),
        "yAxis": {"type": "value"},
        "series": series,
    }


def _times(start: datetime, end: datetime, step: str) -> list[datetime]:
    width = _width(step)
    first = start.replace(hour=0) if step == "day" else start
    return [first + index * width for index in range(int((end - first) / width) + 1) if first + index * width < end]


def _width(step: str) -> timedelta:
    return timedelta(days=1) if step == "day" else timedelta(hours=1)


def _axis(times: list[datetime], step: str) -> dict[str, Any]:
    """From the first step to the last, with room for half a bar on both sides."""
    half = _width(step) / 2
    return {"type": "time", "min": (times[0] - half).isoformat(), "max": (times[-1] + half).isoformat()}


def _points(counts: dict[datetime, Any]) -> list[list[Any]]:
    return [[moment.isoformat(), count] for moment, count in counts.items()]


def by_key(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows grouped by key, with the names of keys and of predicted files; requests without a valid key stand for
    themselves."""
    asked = [row["key"] for row in rows]
    known = {key.pk: key for key in ApiKey.objects.filter(pk__in=asked).prefetch_related("endpoints")}
    files = {one.pk: one for one in Prediction.objects.filter(pk__in=asked)}
    for row in rows:
        if file := files.get(row["key"]):
            url = reverse("predictions:prediction", args=[file.pk])
            row |= {"name": file.source_name, "under": _("predicted file"), "url": url}
            continue
        key = known.get(row["key"])
        row["name"] = key.name if key else (_("Deleted key") if row["key"] else _("Without a valid key"))
        row["under"] = _opens(key) if key else ""
    return sorted(rows, key=lambda row: -row["requests"])


def _opens(key: ApiKey) -> str:
    """A key's beginning and, where it opens a single endpoint, which: keys may have the same name."""
    endpoints = [] if key.all_endpoints else list(key.endpoints.all())
    return f"{key.prefix}… · {endpoints[0].name}" if len(endpoints) == 1 else f"{key.prefix}…"


def by_endpoint(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows grouped by endpoint, with names and links."""
    known = {endpoint.pk: endpoint for endpoint in Endpoint.objects.filter(pk__in=[row["endpoint"] for row in rows])}
    for row in rows:
        if not row["endpoint"]:
            row |= {"name": _("Models alone"), "under": _("predicted files"), "url": ""}
            continue
        endpoint = known.get(row["endpoint"])
        row["name"] = endpoint.name if endpoint else row["endpoint"]
        live = endpoint is not None and endpoint.deleted is None
        row["url"] = reverse("endpoints:endpoint", args=[row["endpoint"]]) if live else ""
        row["under"] = "" if live else _("deleted")
    return sorted(rows, key=lambda row: -row["requests"])


def by_status(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows grouped by status."""
    for row in rows:
        row["name"] = str(row["status"])
    return rows


def quota_left(team: Team) -> quota.Use | None:
    """What is used of the team's monthly requests; None where they are not limited."""
    return next((use for use in quota.uses(team) if not use.subject), None)
