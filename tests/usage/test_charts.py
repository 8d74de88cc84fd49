"""The charts of a usage page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.usage import summary

END = datetime(2026, 3, 8, 15, tzinfo=UTC)


@pytest.mark.parametrize(("days", "step", "steps"), [(1, "hour", 24), (7, "hour", 168), (30, "day", 31)])
def test_both_charts_show_the_same_span_whenever_requests_came(days: int, step: str, steps: int) -> None:
    start, moment = END - timedelta(days=days), END - timedelta(hours=15)
    row: dict[str, Any] = {"start": moment, "status": 200, "requests": 5, "p50_ms": 1.5, "p95_ms": 2.0, "p99_ms": 3.0}
    requests = summary.requests_chart([row], start, END, step)
    latency = summary.latency_chart([row], start, END, step)
    assert requests["xAxis"] == latency["xAxis"]
    counts, times = requests["series"][0]["data"], latency["series"][0]["data"]
    assert [point[0] for point in counts] == [point[0] for point in times] and len(times) == steps
    assert [point for point in counts if point[1]] == [[moment.isoformat(), 5]]
    assert [point for point in times if point[1] is not None] == [[moment.isoformat(), 1.5]]
    assert requests["xAxis"]["min"] < times[0][0] and times[-1][0] < requests["xAxis"]["max"]
