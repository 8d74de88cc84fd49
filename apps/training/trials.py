"""The trials of a job's search: what there is to know of them, for the API and for pages."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from apps.training.comparison import shown
from apps.training.models import Job, Trial
from workers.task_templates import TEMPLATES
from workers.task_templates.search_space import Range

# With fewer finished trials, how the score goes with a parameter is chance.
_LEAST_FOR_IMPORTANCE: Final = 5
_MOST_LINES: Final = 60
_SHOWN: Final = 8


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial that the model comes from, or would if the search ended now: as the engine chooses."""
    whole = [trial for trial in trials if trial.state in (Trial.State.COMPLETE, Trial.State.STOPPED)]
    scored = [trial for trial in whole if trial.score is not None]
    return max(scored, key=lambda trial: (trial.score or 0.0, -trial.number), default=None)


def as_json(job: Job) -> dict[str, Any]:
    """The trials as the API tells them."""
    trials = list(job.trials.all())
    best = best_of(trials)
    return {
        "metric": metric_of(job),
        "best": best.number if best else None,
        "importance": importance(trials),
        "trials": [
            {
                "number": trial.number,
                "parameters": trial.parameters,
                "state": trial.state,
                "score": trial.score,
                "scores": trial.scores,
                "seconds": trial.seconds,
                "reason": trial.reason,
            }
            for trial in trials
        ],
    }


def metric_of(job: Job) -> str:
    """The name of the metric that the trials are compared by."""
    task = TEMPLATES.get(job.template)
    return task.metric_for(job.dataset_version.is_multi_label) if task else ""


def importance(trials: Sequence[Trial]) -> dict[str, float]:
    """How strongly the score goes with each number that was searched: Spearman's rank correlation, -1 to 1.

    Strongest first; {} with fewer than five finished trials.
    """
    done = [trial for trial in trials if trial.state == Trial.State.COMPLETE and trial.score is not None]
    if len(done) < _LEAST_FOR_IMPORTANCE:
        return {}
    scores = _ranks([trial.score or 0.0 for trial in done])
    found = {}
    for name, first in done[0].parameters.items():
        values = [trial.parameters.get(name) for trial in done]
        if isinstance(first, bool | str) or not all(isinstance(value, int | float) for value in values):
            continue
        found[name] = round(_correlation(_ranks([float(value) for value in values if value is not None]), scores), 3)
    return dict(sorted(found.items(), key=lambda pair: -abs(pair[1])))


def _ranks(values: list[float]) -> list[float]:
    """Ranks from 0; equal values share their mean rank."""
    order = sorted(values)
    return [(bisect_left(order, value) + bisect_right(order, value) - 1) / 2 for value in values]


def _correlation(left: list[float], right: list[float]) -> float:
    """Pearson's correlation; 0 where one side does not vary."""
    mean_left, mean_right = sum(left) / len(left), sum(right) / len(right)
    pairs = [(a - mean_left, b - mean_right) for a, b in zip(left, right, strict=True)]
    norm = (sum(a * a for a, _b in pairs) * sum(b * b for _a, b in pairs)) ** 0.5
    return sum(a * b for a, b in pairs) / norm if norm else 0.0


def summary(job: Job) -> dict[str, Any] | None:
    """What the job's own page shows: the best trials, and all of them in one chart. None where nothing is searched."""
    trials = list(job.trials.all())
    if not trials:
        return None
    best = best_of(trials)
    rows = sorted(trials, key=lambda trial: (trial.state != Trial.State.RUNNING, *_by_score(trial)))
    return {
        "metric": metric_of(job),
        "best": best,
        "names": _names(job, trials),
        "rows": [_row(trial, job, best, _names(job, trials)) for trial in rows[:_SHOWN]],
        "count": len(trials),
        "given_up": sum(trial.state == Trial.State.PRUNED for trial in trials),
        "chart": progress_chart(trials) if any(trial.score is not None for trial in trials) else None,
    }


def comparison(job: Job, sort: str) -> dict[str, Any]:
    """What the page of all trials shows, sorted by a column; "-" before its name turns the order."""
    trials = list(job.trials.all())
    names = _names(job, trials)
    column, turned = sort.removeprefix("-"), sort.startswith("-")
    if column == "number":
        rows = sorted(trials, key=lambda trial: trial.number, reverse=turned)
    elif column == "seconds":
        rows = sorted(trials, key=lambda trial: trial.seconds, reverse=turned)
    elif column in names:
        rows = sorted(trials, key=lambda trial: _sortable(trial.parameters.get(column)), reverse=turned)
    else:
        column, turned = "score", sort != "score"
        # Those without a score come last either way.
        rows = sorted(trials, key=_by_score if turned else _by_score_upwards)
    best = best_of(trials)
    heads = [
        ("number", _("Trial")),
        *((name, name) for name in names),
        ("score", metric_of(job)),
        ("seconds", _("Time")),
    ]
    correlations = importance(trials)
    return {
        "metric": metric_of(job),
        "best": best,
        "rows": [_row(trial, job, best, names) for trial in rows],
        "names": names,
        "heads": [
            {
                "key": key,
                "label": label,
                "order": ("descending" if turned else "ascending") if key == column else "none",
                "next": key if key == column and turned else f"-{key}",
            }
            for key, label in heads
        ],
        "importance": [{"name": name, "value": value, "size": abs(value)} for name, value in correlations.items()],
        "parallel": parallel_chart(job, trials, names) if len(trials) > 1 else None,
        "courses": courses_chart(trials, best) if any(len(trial.scores) > 1 for trial in trials) else None,
    }


def _names(job: Job, trials: Sequence[Trial]) -> list[str]:
    """The parameters that were searched, in the template's order: the database does not keep one."""
    task = TEMPLATES.get(job.template)
    known = list(task.search_space) if task else []
    found = dict.fromkeys(name for trial in trials for name in trial.parameters)
    return sorted(found, key=lambda name: known.index(name) if name in known else len(known))


def _row(trial: Trial, job: Job, best: Trial | None, names: list[str]) -> dict[str, Any]:
    # The job has ended, and with it what was under way.
    over = job.is_over and trial.state == Trial.State.RUNNING
    state = Trial.State.STOPPED if over else Trial.State(trial.state)
    return {
        "trial": trial,
        "state": state.value,
        "state_label": state.label,
        "is_best": best is not None and trial.pk == best.pk,
        "values": [shown(trial.parameters.get(name)) for name in names],
    }


def _by_score(trial: Trial) -> tuple[bool, float, int]:
    """Best first; without a score, last."""
    return (trial.score is None, -(trial.score or 0.0), trial.number)


def _by_score_upwards(trial: Trial) -> tuple[bool, float, int]:
    return (trial.score is None, trial.score or 0.0, trial.number)


def _sortable(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, str(value))


def progress_chart(trials: Sequence[Trial]) -> dict[str, Any]:
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


def parallel_chart(job: Job, trials: Sequence[Trial], names: list[str]) -> dict[str, Any]:
    """ECharts option: a line per trial over an axis per parameter, the score as the last axis."""
    best = best_of(trials)
    space = TEMPLATES[job.template].search_space if job.template in TEMPLATES else {}
    axes: list[dict[str, Any]] = []
    for place, name in enumerate([*names, metric_of(job)]):
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


def courses_chart(trials: Sequence[Trial], best: Trial | None) -> dict[str, Any]:
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
