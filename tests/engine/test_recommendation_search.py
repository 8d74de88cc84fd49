"""The search for settings."""

import math

from workers.engine.recommenders.search import Settings, Trial, best_trial, propose


def hill(settings: Settings) -> float:
    """Best at λ = 90, α = 4."""
    return -((math.log(settings["l"] / 90)) ** 2) - (math.log(settings["a"] / 4)) ** 2


def run(start: Settings, factors: Settings, budget: int) -> list[Trial]:
    trials: list[Trial] = []
    while settings := propose(trials, start, factors, budget):
        trials.append(
            Trial(algorithm="a", settings=settings, variant={}, metrics={"recall@20": hill(settings), "ndcg@20": 0})
        )
    return trials


def test_the_search_climbs_to_the_top() -> None:
    trials = run({"l": 10.0, "a": 10.0}, {"l": 3.0, "a": 3.0}, 40)
    best = best_trial(trials)["settings"]
    assert abs(math.log(best["l"] / 90)) < math.log(3) / 4
    assert abs(math.log(best["a"] / 4)) < math.log(3) / 4


def test_nothing_is_tried_twice_and_the_budget_is_kept() -> None:
    trials = run({"l": 10.0, "a": 10.0}, {"l": 3.0, "a": 3.0}, 12)
    assert len(trials) == 12
    assert len({str(trial["settings"]) for trial in trials}) == 12


def test_the_search_ends_where_no_finer_step_is_left() -> None:
    assert len(run({"l": 90.0, "a": 4.0}, {"l": 3.0, "a": 3.0}, 1000)) == 1 + 2 * 2 * 3


def test_settings_that_are_given_stay() -> None:
    trials = run({"l": 10.0, "a": 10.0}, {"a": 3.0}, 10)
    assert {trial["settings"]["l"] for trial in trials} == {10.0}


def test_without_anything_free_the_start_is_all_there_is() -> None:
    assert len(run({"l": 10.0, "a": 10.0}, {}, 10)) == 1
