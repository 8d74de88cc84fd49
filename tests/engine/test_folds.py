"""Cross-validation: how rows are dealt, what is measured, and several models that answer as one."""

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tests.engine.jobs import TEXT, make_job
from workers.contracts.errors import JobError, UserError
from workers.contracts.jobdir import JobDir
from workers.engine import __main__ as engine
from workers.engine.classification import TrainedClassifier
from workers.engine.folds import deal, masks_of, summary
from workers.engine.run import Run
from workers.inference import runtime
from workers.task_templates import TEMPLATES

SMALL = {"epochs": 2, "channels": 8, "phrases": 2}


def write_rows(job_dir: JobDir, rows: list[tuple[str, str, str]]) -> None:
    """(split, hash, label) of each row."""
    table = [
        {"row": number, "split": split, "hash": digest, "text": digest, "label": label}
        for number, (split, digest, label) in enumerate(rows)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), job_dir.inputs / "data.parquet")


def run_on(folder: Path, rows: list[tuple[str, str, str]]) -> Run:
    job_dir = make_job(folder, seed=3)
    write_rows(job_dir, rows)
    return Run(job_dir, job_dir.spec(), TEMPLATES[TEXT].resolve("fast", {}))


def a_dataset() -> list[tuple[str, str, str]]:
    """600 rows of three labels, 100 : 30 : 10; every fifth content occurs three times, test rows between them."""
    random = np.random.default_rng(7)
    rows = []
    for number in range(400):
        label = str(random.choice(["a", "b", "c"], p=[100 / 140, 30 / 140, 10 / 140]))
        split = "test" if number % 10 == 9 else "validation" if number % 10 == 8 else "train"
        rows += [(split, f"{number:032x}", label)] * (3 if number % 5 == 0 else 1)
    return [rows[place] for place in random.permutation(len(rows))]


def test_a_group_that_is_nearly_the_same_is_never_on_both_sides(tmp_path: Path) -> None:
    run = run_on(tmp_path, a_dataset())
    table = pyarrow.parquet.read_table(run.data_path)
    names = [f"g{row % 50}" if row % 3 == 0 else None for row in range(len(table))]
    pyarrow.parquet.write_table(table.append_column("group", pyarrow.array(names)), run.data_path)
    home: dict[str, int] = {}
    for name, fold in zip(names, deal(run, 5).tolist(), strict=True):
        if name and fold >= 0:
            assert home.setdefault(name, fold) == fold
    assert len(set(home.values())) == 5


def test_equal_content_is_never_on_both_sides_and_labels_are_spread(tmp_path: Path) -> None:
    rows = a_dataset()
    run = run_on(tmp_path, rows)
    for folds in (2, 5, 10):
        dealt = deal(run, folds)
        home: dict[str, int] = {}
        for (split, digest, _label), fold in zip(rows, dealt.tolist(), strict=True):
            assert (fold == -1) == (split == "test")
            if fold >= 0:
                assert home.setdefault(digest, fold) == fold
        for label in "abc":
            counts = Counter(
                fold for (_s, _d, other), fold in zip(rows, dealt.tolist(), strict=True) if other == label and fold >= 0
            )
            # As even as contents that occur three times allow.
            assert max(counts.values()) - min(counts[fold] for fold in range(folds)) <= 3


def test_rows_without_duplicates_are_dealt_to_one(tmp_path: Path) -> None:
    rows = [("train", f"{number:032x}", "ab"[number % 2]) for number in range(23)]
    dealt = deal(run_on(tmp_path, rows), 5)
    for label in "ab":
        counts = np.bincount(dealt[[row[2] == label for row in rows]], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_rare_labels_are_not_all_in_the_same_fold(tmp_path: Path) -> None:
    rows = [("train", f"{number:032x}", f"rare {number}") for number in range(60)]
    assert len(set(deal(run_on(tmp_path, rows), 5).tolist())) == 5


def test_the_same_seed_deals_the_same(tmp_path: Path) -> None:
    run = run_on(tmp_path, a_dataset())
    assert np.array_equal(deal(run, 5), deal(run, 5))


def test_more_folds_than_contents_are_refused(tmp_path: Path) -> None:
    run = run_on(tmp_path, [("train", "0" * 32, "a")] * 9 + [("train", "1" * 32, "b")] * 9)
    with pytest.raises(JobError) as caught:
        deal(run, 3)
    assert caught.value.code == "too_few_rows"


def test_a_fold_trains_on_the_others_and_leaves_the_test_rows_alone() -> None:
    dealt = np.array([0, 1, -1, 0, 2])
    masks = masks_of(dealt, 0, np.zeros(5, dtype=bool))
    assert masks("train").tolist() == [False, True, False, False, True]
    assert masks("validation").tolist() == [True, False, False, True, False]
    assert not masks("test").any()


def test_mean_and_spread_are_those_of_the_folds() -> None:
    found = summary([{"accuracy": 0.5, "roc_auc": 0.9}, {"accuracy": 0.7}, {"accuracy": 0.9}])
    assert found["mean"] == {"accuracy": pytest.approx(0.7)} and found["std"] == {"accuracy": pytest.approx(0.2)}


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"folds": 11}, {"folds": -2}, {"folds": "many"}])
def test_a_number_of_folds_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        TEMPLATES[TEXT].resolve("fast", wrong)


def test_a_template_without_labels_offers_no_folds() -> None:
    assert "folds" not in TEMPLATES["recommendation"].params.model_json_schema()["properties"]


def test_a_job_with_folds_tells_mean_and_spread_beside_its_model(tmp_path: Path) -> None:
    job_dir = make_job(tmp_path, seed=3, folds=3, **SMALL)
    assert engine.main([str(tmp_path)]) == 0
    result = job_dir.result
    found = result["metrics"]["cross_validation"]
    assert found == result["report"]["cross_validation"] and found["folds"] == 3
    accuracies = [fold["accuracy"] for fold in found["per_fold"]]
    assert len(accuracies) == 3
    assert found["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert found["std"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    # The model itself comes from the given split.
    assert result["report"]["splits"]["validation"]["rows"] == 60 and result["report"]["splits"]["test"]["rows"] == 60
    fractions = [event["fraction"] for event in job_dir.told("progress")]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert "over 3 folds" in zipfile.ZipFile(job_dir.output / "bundle.zip").read("README.md").decode()

    # A fold is what a job of its own would be, on a file whose split says so.
    table = pyarrow.parquet.read_table(job_dir.inputs / "data.parquet")
    dealt = deal(Run(job_dir, job_dir.spec(), TEMPLATES[TEXT].resolve("fast", {})), 3)
    splits = pyarrow.array(["validation" if fold == 1 else "train" for fold in dealt.tolist()])
    alone = make_job(tmp_path / "alone", seed=3, **SMALL)
    table = table.set_column(table.column_names.index("split"), "split", splits).filter(dealt >= 0)
    pyarrow.parquet.write_table(table, alone.inputs / "data.parquet")
    assert engine.main([str(alone.root)]) == 0
    assert alone.result["metrics"]["validation"] == found["per_fold"][1]


def test_the_folds_models_answer_as_one_and_a_killed_job_repeats_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_dir = make_job(tmp_path, seed=3, folds=2, average_folds=True, **SMALL)
    train, scores = TEMPLATES[TEXT].train, []

    def killed_in_the_second(run: Run) -> Any:
        if run.name == "fold-2":
            raise KeyboardInterrupt
        return train(run)

    with monkeypatch.context() as patched:
        patched.setattr(TEMPLATES[TEXT], "train", killed_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            engine.main([str(tmp_path)])
    steps: list[tuple[str, int]] = []

    def watched(run: Run) -> Any:
        saved, run.checkpoints.save = (
            run.checkpoints.save,
            lambda step, tensors, state: (  # type: ignore[method-assign]
                steps.append((run.name, step)),
                saved(step, tensors, state),
            )[1],
        )
        loaded = run.checkpoints.load()
        steps.append((f"{run.name} from", loaded.step if loaded else 0))
        trained = train(run)
        scores.append(trained._scores["test"])
        return trained

    monkeypatch.setattr(TEMPLATES[TEXT], "train", watched)
    assert engine.main([str(tmp_path)]) == 0
    begun = dict(step for step in steps if step[0].endswith("from"))
    assert begun["fold-1 from"] > 0 and begun["fold-2 from"] == 0
    assert begun["fold-1 from"] == max(step for name, step in steps if name == "fold-1")

    result = job_dir.result
    assert result["certificate"]["passed"] and result["certificate"]["examples"] == 60
    assert set(result["metrics"]) == {"test", "cross_validation"}
    with zipfile.ZipFile(job_dir.output / "bundle.zip") as bundle:
        bundle.extractall(tmp_path / "unzipped")
    predictor = runtime.load(tmp_path / "unzipped")
    texts = (
        Run(job_dir, job_dir.spec(), TEMPLATES[TEXT].resolve("fast", {})).split("test", ["text"])["text"].to_pylist()
    )
    answers = predictor.predict([predictor.prepare(text) for text in texts])
    served = np.array([[answer["scores"][label] for label in result["report"]["labels"]] for answer in answers])
    assert np.allclose(served, np.mean(scores, axis=0), atol=1e-5)


def test_models_that_read_inputs_in_different_ways_are_not_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_dir = make_job(tmp_path, seed=3, folds=2, average_folds=True, **SMALL)
    readings = iter(range(100))
    monkeypatch.setattr(TrainedClassifier, "_reading", lambda _trained: next(readings))
    assert engine.main([str(tmp_path)]) == 0
    result = job_dir.result
    assert set(result["metrics"]) == {"validation", "test", "cross_validation"}
    assert any("cannot answer as one" in event["message"] for event in job_dir.told("log"))


def test_folds_leave_time_for_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job_dir = make_job(tmp_path, seed=3, folds=5, **SMALL)
    train = TEMPLATES[TEXT].train

    def slow(run: Run) -> Any:
        if run.name.startswith("fold"):
            run.clock.resume(run.clock() + 200)
        return train(run)

    monkeypatch.setattr(TEMPLATES[TEXT], "train", slow)
    monkeypatch.setattr(Run, "seconds_left", lambda run: 1000 - run.clock())
    assert engine.main([str(tmp_path)]) == 0
    found = job_dir.result["metrics"]["cross_validation"]
    assert found["folds"] == len(found["per_fold"]) == 3
    assert any("allows 3 of 5 folds" in event["message"] for event in job_dir.told("log"))


def test_the_mean_of_folds_needs_test_rows(tmp_path: Path) -> None:
    job_dir = make_job(tmp_path, seed=3, folds=2, average_folds=True, **SMALL)
    write_rows(job_dir, [("train", f"{number:032x}", "ab"[number % 2]) for number in range(40)])
    assert engine.main([str(tmp_path)]) == 1
    card = json.loads(job_dir.events_path.read_bytes().splitlines()[-1])["error"]
    assert card["code"] == "too_few_rows" and "test rows" in card["evidence"]
