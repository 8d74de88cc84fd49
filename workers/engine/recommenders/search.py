"""Choosing settings on the validation rows: a compass search on a multiplicative grid.

What to try next follows from what has been tried alone, so a search that was killed goes on where it was.
"""

from typing import TypedDict

Settings = dict[str, float]

# Steps become finer this often: a factor of 3, then √3, then ⁴√3.
_LEVELS = 3


class Trial(TypedDict):
    """What was fitted, which way of using it was best, and how good that was on the validation rows."""

    algorithm: str
    settings: Settings
    variant: Settings
    metrics: dict[str, float]


def quality(metrics: dict[str, float]) -> float:
    """What decides between models: how much is found, and how high up; both of the first 20."""
    return (metrics["recall@20"] + metrics["ndcg@20"]) / 2


def propose(trials: list[Trial], start: Settings, factors: Settings, budget: int) -> Settings | None:
    """The settings to try next, or None where nothing is left to try.

    Begins at `start`, then multiplies and divides one setting of the best trial at a time by its entry in `factors`;
    settings without an entry stay. Ends after `budget` trials.
    """
    if len(trials) >= budget:
        return None
    if not trials:
        return rounded(start)
    best = best_trial(trials)["settings"]
    tried = [trial["settings"] for trial in trials]
    for level in range(_LEVELS):
        for name, factor in factors.items():
            for sign in (1, -1):
                step: float = factor ** (sign / 2**level)
                candidate = rounded({**best, name: best[name] * step})
                if candidate not in tried:
                    return candidate
    return None


def best_trial(trials: list[Trial]) -> Trial:
    """The trial of the highest quality, the first of equals."""
    return max(trials, key=lambda trial: quality(trial["metrics"]))


def rounded(settings: Settings) -> Settings:
    """Five significant digits: going forth and back arrives at the same place."""
    return {name: float(f"{value:.5g}") for name, value in settings.items()}
