"""The trials of a job's search: what there is to know of them, for the API and for pages."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from apps.training import charts
from apps.training.comparison import shown
from apps.training.models import Job, Trial
from workers.task_templates import TEMPLATES
from workers.task_templates.search_space import SearchSpace

# With fewer finished trials, how the score goes with a parameter is chance.
_LEAST_FOR_IMPORTANCE: Final = 5
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
    best, names = best_of(trials), _names(job, trials)
    rows = sorted(trials, key=lambda trial: (trial.state != Trial.State.RUNNING, *_by_score(trial)))
    return {
        "metric": metric_of(job),
        "best": best,
        "names": names,
        "rows": [_row(trial, job, best, names) for trial in rows[:_SHOWN]],
        "count": len(trials),
        "given_up": sum(trial.state == Trial.State.PRUNED for trial in trials),
        "chart": charts.scores(trials) if any(trial.score is not None for trial in trials) else None,
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
        "parallel": charts.parallel(trials, best, names, metric_of(job), _space(job)) if len(trials) > 1 else None,
        "courses": charts.courses(trials, best) if any(len(trial.scores) > 1 for trial in trials) else None,
    }


def _space(job: Job) -> SearchSpace:
    task = TEMPLATES.get(job.template)
    return task.search_space if task else {}


def _names(job: Job, trials: Sequence[Trial]) -> list[str]:
    """The parameters that were searched, in the template's order: the database does not keep one."""
    known = list(_space(job))
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
