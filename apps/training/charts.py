"""ECharts options of the pages of training."""

from collections.abc import Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from apps.training.models import Trial
from workers.task_templates.search_space import Range, SearchSpace

_MOST_LINES: Final = 60


def scores(trials: Sequence[Trial]) -> dict[str, Any]:
    """ECharts option: each trial's score by its number, and the best up to there as a line."""
    scored = [trial for trial in trials if trial.score is not None]
    whole = [trial for trial in scored if trial.state != Trial.State.PRUNED]
    pruned = [trial for trial in scored if trial.state == Trial.State.PRUNED]
    best, line = float("-inf"), []
    for trial in whole:
        best = max(best, trial.score or 0.0)
        line.append([trial.number, best])
    if line:
        line.append([len(trials), best])
    dots = {"type": "scatter", "symbolSize": 9, "animation": False}
    series: list[dict[str, Any]] = [
        {"name": _("best so far"), "type": "line", "step": "end", "showSymbol": False, "data": line}
        | {"color": "--sw-chart-2", "animation": False},
        {"name": _("trial"), **dots, "data": [[t.number, t.score] for t in whole], "color": "--sw-chart-1"},
    ]
    if pruned:
        faint = {"opacity": 0.6}
        points = [[trial.number, trial.score] for trial in pruned]
        series.append({"name": _("given up"), **dots, "data": points, "color": "--sw-chart-6", "itemStyle": faint})
    return {
        "legend": {},
        "grid": {"top": 36},
        "tooltip": {"trigger": "item"},
        "xAxis": {"type": "value", "minInterval": 1, "min": 0, "max": len(trials) + 1},
        "yAxis": {"type": "value", "scale": True},
        "series": series,
    }


def parallel(
    trials: Sequence[Trial], best: Trial | None, names: list[str], metric: str, space: SearchSpace
) -> dict[str, Any]:
    """ECharts option: a line per trial over an axis per parameter, the score (by `metric`) as the last axis."""
    axes: list[dict[str, Any]] = []
    for place, name in enumerate([*names, metric]):
        axis: dict[str, Any] = {
            "dim": place,
            "name": name,
            "axisLine": {"show": True},
            "nameTextStyle": {"fontSize": 12},
        }
        values = space.get(name)
        if name in names and not isinstance(values, Range):
            axis |= {"type": "category", "data": sorted({str(trial.parameters.get(name)) for trial in trials})}
        elif isinstance(values, Range):
            axis |= {"type": "log" if values.log else "value", "min": values.low, "max": values.high}
            if isinstance(values.low, int):
                axis["minInterval"] = 1
        else:
            axis |= {"scale": True}
        axes.append(axis)

    def lines(chosen: list[Trial]) -> list[list[Any]]:
        return [
            [*(_drawn(trial.parameters.get(name), axes[place]) for place, name in enumerate(names)), trial.score]
            for trial in chosen
        ]

    scored = [trial for trial in trials if trial.score is not None]
    whole = [trial for trial in scored if trial.state != Trial.State.PRUNED and trial is not best]
    pruned = [trial for trial in scored if trial.state == Trial.State.PRUNED]
    common = {"type": "parallel", "smooth": False, "animation": False}
    return {
        "legend": {"bottom": 0, "top": None},
        "parallel": {"left": 32, "right": 48, "top": 40, "bottom": 48},
        "parallelAxis": axes,
        "series": [
            {"name": _("given up"), **common, "data": lines(pruned), "color": "--sw-chart-6"}
            | {"lineStyle": {"width": 1, "opacity": 0.35}},
            {"name": _("trial"), **common, "data": lines(whole), "color": "--sw-chart-1"}
            | {"lineStyle": {"width": 1.5, "opacity": 0.55}},
            {"name": _("best"), **common, "data": lines([best] if best else []), "color": "--sw-chart-3"}
            | {"lineStyle": {"width": 3.5, "opacity": 1}},
        ],
    }


def _drawn(value: Any, axis: dict[str, Any]) -> Any:
    return str(value) if axis.get("type") == "category" else value


def courses(trials: Sequence[Trial], best: Trial | None) -> dict[str, Any]:
    """ECharts option: the score of each trial after each epoch; the best one stands out."""
    shown = [trial for trial in trials if trial.scores][-_MOST_LINES:]
    if best and best not in shown:
        shown.append(best)
    return {
        "grid": {"top": 12},
        "tooltip": {"trigger": "item"},
        "xAxis": {"type": "value", "minInterval": 1, "min": 1, "name": "", "max": "dataMax"},
        "yAxis": {"type": "value", "scale": True},
        "series": [
            {
                "name": _("Trial %(n)d") % {"n": trial.number},
                "type": "line",
                "data": [[epoch + 1, score] for epoch, score in trial.scores],
                "showSymbol": len(trial.scores) == 1,
                "animation": False,
                "color": "--sw-chart-3"
                if trial is best
                else "--sw-chart-6"
                if trial.state == Trial.State.PRUNED
                else "--sw-chart-1",
                "lineStyle": {"width": 3 if trial is best else 1.5, "opacity": 1 if trial is best else 0.5},
                "z": 3 if trial is best else 2,
            }
            for trial in shown
        ],
    }
