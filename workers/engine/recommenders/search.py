"""Choosing settings on the validation rows: a compass search on a multiplicative grid.

What to try next follows from what has been tried alone, so a search that was killed goes on where it was.
"""

from typing import TypedDict

Settings = dict[str, float]

# Steps become finer this often: a factor of 3, then √3, then ⁴√3.
_LEVELS = 3


class Trial(TypedDict):
    """What was fitted, which way of using it was best, and how good that was on the validation rows."""

    settings: Settings
    variant: Settings
    metrics: dict[str, float]


def propose(trials: list[Trial], start: Settings, factors: Settings, budget: int, metric: str) -> Settings | None:
    """The settings to try next, or None where nothing is left to try.

    Begins at `start`, then multiplies and divides one setting of the best trial at a time by its entry in `factors`;
    settings without an entry stay. Ends after `budget` trials.
    """
    if len(trials) >= budget:
        return None
    if not trials:
        return rounded(start)
    best = best_trial(trials, metric)["settings"]
    tried = [trial["settings"] for trial in trials]
    for level in range(_LEVELS):
        for name, factor in factors.items():
            for sign in (1, -1):
                step: float = factor ** (sign / 2**level)
                candidate = rounded({**best, name: best[name] * step})
                if candidate not in tried:
                    return candidate
    return None


def best_trial(trials: list[Trial], metric: str) -> Trial:
    """The trial with the largest metric, the first of equals."""
    return max(trials, key=lambda trial: trial["metrics"][metric])


def rounded(settings: Settings) -> Settings:
    """Five significant digits: going forth and back arrives at the same place."""
    return {name: float(f"{value:.5g}") for name, value in settings.items()}
