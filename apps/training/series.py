"""Metric series for charts, down-sampled where the data is: the browser never gets more points than it can draw."""

from typing import Any, Final

from django.db import connection
from django.db.models import Count

from apps.training.models import Job

MOST_SERIES: Final = 64

# Each bucket of neighbouring points keeps its lowest and its highest, the series its first and last: no spike is lost.
_SAMPLE: Final = """
WITH numbered AS (
    SELECT step, value, row_number() OVER (ORDER BY step) AS number, count(*) OVER () AS total
    FROM training_metricpoint WHERE job_id = %(job)s AND name = %(name)s
), ranked AS (
    SELECT step, value, number, total,
        row_number() OVER (PARTITION BY bucket ORDER BY value, step) AS from_low,
        row_number() OVER (PARTITION BY bucket ORDER BY value DESC, step) AS from_high
    FROM (SELECT *, (number - 1) * %(buckets)s / total AS bucket FROM numbered) AS bucketed
)
SELECT step, value FROM ranked WHERE from_low = 1 OR from_high = 1 OR number IN (1, total) ORDER BY step
"""


def series(job: Job, names: list[str] | None = None, points: int = 500) -> list[dict[str, Any]]:
    """[{"name", "total", "points": [[step, value], …]}], sorted by name, at most about `points` (≥ 4) points each."""
    rows = job.metric_points.order_by("name").values_list("name").annotate(total=Count("id"))
    if names is not None:
        rows = rows.filter(name__in=names)
    return [
        {"name": name, "total": total, "points": _points(job, name, total, points)}
        for name, total in rows[:MOST_SERIES]
    ]


def _points(job: Job, name: str, total: int, points: int) -> list[list[float]]:
    if total <= points:
        return [[step, value] for step, value in job.metric_points.filter(name=name).values_list("step", "value")]
    with connection.cursor() as cursor:
        cursor.execute(_SAMPLE, {"job": job.pk, "name": name, "buckets": max(1, (points - 2) // 2)})
        return [[step, value] for step, value in cursor.fetchall()]
