"""Jobs of a project side by side: what was set, what came of it, and how it went."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from apps.registry.report import metric_name
from apps.training.models import Job
from apps.training.series import series

MOST: Final = 6
# The curves that people compare, the first that any of the jobs has.
_QUALITY: Final = ("validation/accuracy", "validation/mean_average_precision", "validation/recall@20")
_LOSS: Final = "train/loss"
_POINTS: Final = 150
# What to look at first, in this order; other metrics are shown on request.
_FIRST: Final = (
    *("accuracy", "micro_f1", "macro_f1", "mean_average_precision", "log_loss", "roc_auc", "calibration_error"),
    *("recall@20", "ndcg@20", "recall@10", "ndcg@10", "coverage@10"),
)
# Of these, less is better.
_COSTS: Final = ("log_loss", "calibration_error", "popularity_bias")


def candidates(jobs: Any, most: int = 30) -> list[Job]:
    """The jobs of a project that can be chosen, newest first."""
    return list(jobs.filter(kind=Job.Kind.TRAIN).listed()[:most])


def default(jobs: Sequence[Job]) -> list[Job]:
    """What to compare where nobody has said: the newest models of the newest model's task, up to three."""
    done = [job for job in jobs if job.state == Job.State.SUCCEEDED]
    return [job for job in done if job.template == done[0].template][:3]


def compare(jobs: Sequence[Job]) -> dict[str, Any]:
    """Tables and charts of two or more jobs; every row has a value per job, in their order."""
    return {
        "jobs": jobs,
        "facts": _facts(jobs),
        "parameters": _parameters(jobs),
        "metrics": _metrics(jobs),
        "quality": _chart(jobs, next((name for name in _QUALITY if _has(jobs, name)), "")),
        "loss": _chart(jobs, _LOSS),
    }


def _facts(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    rows = {
        _("Data"): [f"{job.dataset_version.dataset.name} v{job.dataset_version.number}" for job in jobs],
        _("Task"): [job.template for job in jobs],
        _("Preset"): [job.preset for job in jobs],
    }
    return [{"name": name, "values": values, "differ": len(set(values)) > 1} for name, values in rows.items()]


def settings_of(job: Job) -> dict[str, Any]:
    """What a job was trained with: all of it where there is a model, else what the user set."""
    model = getattr(job, "model", None)
    return dict(model.parameters if model else job.parameters)


def shown(value: Any) -> str:
    """A parameter's value for a person."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        # `tune`: {"trials": 20}
        return ", ".join(f"{shown(part)} {name}" for name, part in value.items() if part is not None)
    return str(value)


def _parameters(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Those that differ first, the others after them; each in the order of the template."""
    settings = [settings_of(job) for job in jobs]
    names = list(dict.fromkeys(name for values in settings for name in values))
    rows = []
    for name in names:
        values = [shown(values.get(name)) for values in settings]
        differ = len(set(values)) > 1
        rows.append({"name": name, "values": values, "differ": differ, "minor": not differ})
    return sorted(rows, key=lambda row: row["minor"])


def _metrics(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Test metrics, validation metrics, means over folds with their spread; the best of each row is marked."""
    rows = []
    for split, title in (("test", _("test")), ("validation", _("validation"))):
        found = [_numbers(job.metrics.get(split)) for job in jobs]
        for name in _in_order(found):
            rows.append(_row(name, title, [values.get(name) for values in found]))
    folded = [job.metrics.get("cross_validation") or {} for job in jobs]
    for name in _in_order([values.get("mean", {}) for values in folded]):
        row = _row(name, _("over folds"), [values.get("mean", {}).get(name) for values in folded])
        for cell, values in zip(row["cells"], folded, strict=True):
            cell["spread"] = values.get("std", {}).get(name)
        rows.append(row)
    return rows


def _row(name: str, split: str, values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    best = min(known) if name in _COSTS else max(known)
    marked = len(known) > 1 and min(known) != max(known)
    cells: list[dict[str, Any]] = [{"value": value, "best": marked and value == best} for value in values]
    return {"name": metric_name(name), "split": split, "cells": cells, "minor": name not in _FIRST}


def _in_order(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of all metrics: those to look at first, then the others by name."""
    names = {name for values in found for name in values}
    return [name for name in _FIRST if name in names] + sorted(names - set(_FIRST))


def _numbers(values: Any) -> dict[str, float]:
    if not isinstance(values, dict):
        return {}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def _has(jobs: Sequence[Job], name: str) -> bool:
    return any(job.metric_points.filter(name=name).exists() for job in jobs)


def _chart(jobs: Sequence[Job], name: str) -> dict[str, Any] | None:
    """ECharts option: one series of each job, over its own steps. None where no job has it."""
    lines = []
    for place, job in enumerate(jobs, 1):
        found = series(job, [name], _POINTS) if name else []
        if found:
            points = found[0]["points"]
            lines.append(
                {
                    "name": f"{place}. {job.name}"[:40],
                    "type": "line",
                    "data": points,
                    "showSymbol": len(points) < 30,
                    "symbolSize": 5,
                    "color": f"--sw-chart-{place}",
                }
            )
    if not lines:
        return None
    return {
        "legend": {"type": "scroll"},
        "grid": {"top": 36},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "value", "min": "dataMin", "max": "dataMax"},
        "yAxis": {"type": "value", "scale": True},
        "series": lines,
    }
