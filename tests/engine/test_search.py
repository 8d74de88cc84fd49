"""`tune`: trials are proposed, cut short, survived, resumed, and the best one becomes the model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.jobs import TEXT, Job, kill_when, make_job, run
from workers.contracts.errors import JobError, UserError
from workers.contracts.events import Trial
from workers.engine.checkpoints import Clock
from workers.engine.ledger import Ledger
from workers.engine.parts import Part, Span
from workers.engine.run import Run
from workers.engine.search import best_trial, search
from workers.task_templates import TEMPLATES
from workers.task_templates.base import PRESETS
from workers.task_templates.search_space import Range
from workers.task_templates.text_classification import TextClassification

ROOT = Path(__file__).resolve().parents[2]
SPACE = TEMPLATES[TEXT].search_space


# --- As a runner runs it ---


TUNED = {"tune": {"trials": 4}, "epochs": 3, "channels": 8, "phrases": 2}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return run(make_job(tmp_path_factory.mktemp("searched"), seed=3, **TUNED))


def test_the_best_trial_becomes_the_model(searched: Job) -> None:
    result = searched.result
    tried = result["report"]["search"]
    assert [trial["number"] for trial in tried["trials"]] == [1, 2, 3, 4]
    best = next(trial for trial in tried["trials"] if trial["number"] == tried["best"])
    assert best["score"] == max(trial["score"] for trial in tried["trials"] if trial["state"] == "complete")
    used = result["manifest"]["provenance"]["parameters"]
    assert {name: used[name] for name in best["parameters"]} == best["parameters"]
    # The very weights that were judged in the trial: nothing was trained twice.
    assert result["metrics"]["validation"]["accuracy"] == pytest.approx(best["score"])
    assert any(event["message"].startswith("Resumed at step") for event in searched.told("log"))
    assert result["certificate"]["passed"]


def test_what_the_user_sets_is_not_searched(searched: Job) -> None:
    tried = searched.result["report"]["search"]["trials"]
    assert set(tried[0]["parameters"]) == set(SPACE) - {"channels", "phrases"}
    # At first what the preset says, then something else.
    fast = TEMPLATES[TEXT].resolve("fast", {})
    assert all(value == getattr(fast, name) for name, value in tried[0]["parameters"].items())
    assert len({json.dumps(trial["parameters"], sort_keys=True) for trial in tried}) == 4


def test_trials_are_told_while_they_run_and_progress_never_goes_back(searched: Job) -> None:
    told = searched.told("trial")
    assert {event["number"] for event in told if event["state"] == "running"} == {1, 2, 3, 4}
    assert [e["number"] for e in told if e["state"] in ("complete", "pruned")] == [1, 2, 3, 4]
    assert all(len(event["scores"]) == 3 for event in told if event["state"] == "complete")
    fractions = [event["fraction"] for event in searched.told("progress")]
    assert fractions == sorted(fractions) and fractions[-1] == 1


def test_a_killed_search_goes_on_without_repeating_what_is_finished(searched: Job, tmp_path: Path) -> None:
    job = make_job(tmp_path, seed=3, **TUNED)
    # In the middle of the third trial: it has been judged at least once.
    kill_when(job, lambda event: event["type"] == "trial" and event["number"] == 3 and bool(event["scores"]))
    before = len(job.told("trial"))
    run(job)
    again = job.told("trial")[before:]
    assert {event["number"] for event in again if event["state"] == "running"} <= {3, 4}
    ours, theirs = job.result, searched.result
    assert [(t["parameters"], t["score"], t["state"]) for t in ours["report"]["search"]["trials"]] == [
        (t["parameters"], t["score"], t["state"]) for t in theirs["report"]["search"]["trials"]
    ]
    assert ours["manifest"]["files"]["model.onnx"] == theirs["manifest"]["files"]["model.onnx"]


# --- With a task whose scores are known ---


class Clockwork(Clock):
    """A clock that stands still until it is turned."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Known(TextClassification):
    """Ten epochs of ten seconds each, with the scores that a function of trial and epoch tells."""

    def __init__(self, score: Callable[[int, int], float], clock: Clockwork) -> None:
        self.score, self.clock = score, clock
        self.epochs: list[tuple[int, int]] = []

    def train(self, run: Run) -> Any:
        number = int(run.name.removeprefix("trial-"))
        for epoch in range(10):
            run.progress(epoch / 10, "Training")
            self.clock.seconds += 10
            self.epochs.append((number, epoch))
            self.last = self.score(number, epoch)
            if not run.judged(epoch, 10, self.last):
                break
        return self

    def validation_score(self, metric: str) -> float:
        """It is its own trained model."""
        assert metric == "accuracy"
        return self.last


class Bench:
    """A search over a known task."""

    def __init__(self, folder: Path, tune: Any, **fields: Any) -> None:
        job_dir = make_job(folder, seed=3, tune=tune)
        spec = job_dir.spec().model_copy(update=fields)
        self.run = Run(job_dir, spec, TEMPLATES[TEXT].resolve("fast", {"tune": tune}), clock=Clockwork())
        self.ledger = Ledger(self.run)

    def search(self, score: Callable[[int, int], float]) -> Known:
        clock, tune = self.run.clock, self.run.params.tune
        assert isinstance(clock, Clockwork) and tune
        known = Known(score, clock)
        self.best: Trial = search(self.run, known, self.ledger, tune, 0.9)
        return known

    @property
    def states(self) -> list[str]:
        return [trial.state for trial in self.ledger.trials]


def test_a_trial_that_is_worse_than_most_is_given_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 6)
    known = bench.search(lambda number, epoch: (0.1 if number == 5 else 0.5) + epoch / 100)
    assert bench.states == ["complete"] * 4 + ["pruned", "complete"]
    assert max(epoch for number, epoch in known.epochs if number == 5) == 1
    assert bench.best.number == 1


def test_time_is_kept_in_the_middle_of_a_trial(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "4m")
    bench.search(lambda number, epoch: 0.5 + number / 10)
    # Two trials of 100 s; the third would be better, but has not come to an end.
    assert bench.states == ["complete", "complete", "stopped"]
    assert bench.best.number == 2
    assert 240 <= bench.run.clock() <= 260


def test_a_first_trial_without_time_leaves_its_best_weights(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"minutes": 0.5})
    known = bench.search(lambda _number, epoch: 0.5 + epoch / 100)
    assert bench.states == ["stopped"] and len(known.epochs) == 3
    assert (bench.best.number, bench.best.score) == (1, pytest.approx(0.52))


def test_the_limit_of_the_job_ends_a_search_while_there_is_time_to_export(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"trials": 100}, time_limit_s=400)
    bench.search(lambda number, epoch: 0.5)
    assert bench.states == ["complete"] * 3 + ["stopped"]
    assert bench.run.clock() < 400


def test_a_trial_without_a_finite_loss_fails_alone(tmp_path: Path) -> None:
    def score(number: int, epoch: int) -> float:
        if number == 1:
            raise JobError("not_finite", evidence="At step 7.")
        return 0.5

    bench = Bench(tmp_path, 2)
    bench.search(score)
    assert bench.states == ["failed", "complete"] and bench.ledger.trials[0].reason == "At step 7."
    assert bench.best.number == 2


def test_a_search_in_which_all_fails_says_why(tmp_path: Path) -> None:
    def score(number: int, epoch: int) -> float:
        raise JobError("out_of_memory", evidence="Even one example at a time does not fit.")

    with pytest.raises(JobError) as caught:
        Bench(tmp_path, 2).search(score)
    assert caught.value.code == "out_of_memory" and "one example" in caught.value.evidence


def test_an_error_of_the_data_ends_the_search(tmp_path: Path) -> None:
    def score(number: int, epoch: int) -> float:
        raise JobError("input_corrupt")

    with pytest.raises(JobError) as caught:
        Bench(tmp_path, 2).search(score)
    assert caught.value.code == "input_corrupt"


def test_a_longer_search_builds_on_a_shorter_one(tmp_path: Path) -> None:
    Bench(tmp_path, 2).search(lambda number, epoch: number / 10)
    longer = Bench(tmp_path, 4)
    known = longer.search(lambda number, epoch: number / 10)
    assert {number for number, _epoch in known.epochs} == {3, 4}
    assert longer.best.number == 4


def test_a_search_looks_where_good_trials_were(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 24)
    wanted = 0.002

    def score(number: int, epoch: int) -> float:
        running = bench.ledger.running
        assert running
        return 1 - abs(float(running.parameters["learning_rate"]) - wanted) / wanted

    bench.search(score)
    assert bench.best.score is not None and bench.best.score > 0.8
    low, high = SPACE["learning_rate"].low, SPACE["learning_rate"].high  # type: ignore[union-attr]
    assert all(low <= float(trial.parameters["learning_rate"]) <= high for trial in bench.ledger.trials)


def test_the_checkpoints_of_all_stages_of_a_trial_are_kept_or_dropped_together(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    part = Part(bench.run, bench.ledger, name="trial-3", params=bench.run.params, span=Span(0, 1))
    folder = bench.run.job_dir.checkpoints
    for name in ("trial-3", "trial-3-scratch", "trial-30"):
        for step in (4, 9):
            for suffix in ("json", "safetensors"):
                (folder / f"{name}-step-{step:09d}.{suffix}").touch()
    assert part.saved() == [
        f"{name}-step-000000009.{suffix}"
        for name in ("trial-3-scratch", "trial-3")
        for suffix in ("json", "safetensors")
    ]
    part.discard()
    assert {path.name[:9] for path in folder.iterdir()} == {"trial-30-"}


def test_a_damaged_record_is_not_gone_on_from(tmp_path: Path) -> None:
    Bench(tmp_path, 2).search(lambda number, epoch: 0.5)
    newest = max((tmp_path / "checkpoints").glob("ledger-*.json"))
    newest.write_text(newest.read_text().replace("complete", "compIete", 1))
    again = Bench(tmp_path, 2)
    assert again.ledger.trials == []
    assert "cannot be used" in Job(again.run.job_dir.root).told("log")[-1]["message"]


# --- What templates declare ---


RANGES = [(key, name) for key, template in TEMPLATES.items() for name in template.search_space]


@pytest.mark.parametrize(("key", "name"), RANGES)
def test_a_range_fits_its_parameter_and_every_preset(key: str, name: str) -> None:
    template = TEMPLATES[key]
    values = template.search_space[name]
    ends = (values.low, values.high) if isinstance(values, Range) else values.values
    for preset in PRESETS:
        for value in ends:
            assert getattr(template.resolve(preset, {name: value}), name) == value
        assert getattr(template.resolve(preset, {}), name) in values


@pytest.mark.parametrize("key", sorted(TEMPLATES))
def test_every_template_can_be_searched_and_says_where(key: str) -> None:
    told = TEMPLATES[key].describe()
    assert told["search_space"] and set(told["search_space"]) <= set(told["parameters"]["properties"])


@pytest.mark.parametrize(("given", "trials", "minutes"), [(20, 20, None), ("10m", None, 10), ("7", 7, None)])
def test_plain_forms_are_taken(given: Any, trials: int | None, minutes: float | None) -> None:
    tune = TEMPLATES[TEXT].resolve("fast", {"tune": given}).tune
    assert tune and (tune.trials, tune.minutes) == (trials, minutes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tune": 0},
        {"tune": {}},
        {"tune": "soon"},
        {"tune": True},
        {"tune": {"minutes": -1}},
        {"tune": {"trials": 10**9}},
    ],
)
def test_a_search_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        TEMPLATES[TEXT].resolve("fast", wrong)
    assert caught.value.params["fields"][0]["field"].startswith("tune")


def test_a_search_with_nothing_left_to_search_is_refused() -> None:
    fixed = {name: getattr(TEMPLATES[TEXT].resolve("fast", {}), name) for name in SPACE}
    with pytest.raises(UserError) as caught:
        TEMPLATES[TEXT].resolve("fast", {**fixed, "tune": 3})
    assert caught.value.params["fields"][0]["field"] == "tune"


def test_the_first_of_equals_is_the_best() -> None:
    trials = [
        Trial(time=1, number=n, parameters={}, state="complete", score=s) for n, s in ((1, 0.5), (2, 0.7), (3, 0.7))
    ]
    best = best_trial(trials)
    assert best and best.number == 2
