"""Labels that look wrong: the method on an example worked by hand, and jobs on data with planted errors."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.engine.jobs import TEXT, Job, make_job, make_spec, run
from workers.engine.confident_learning import confident_counts, estimated_joint, judge, thresholds
from workers.engine.label_noise import chance_of_error
from workers.engine.suspected_sets import suspected, suspicion
from workers.task_templates import toy

# Ten rows: four given 0, six given 1; the last one given 0 and the last one given 1 look like the other label.
GIVEN = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
OF_ZERO = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.2, 0.1, 0.3, 0.45, 0.95])
PROBABILITIES = np.stack([OF_ZERO, 1 - OF_ZERO], axis=1)


def test_the_method_finds_what_a_hand_finds() -> None:
    # Mean self-confidence: (0.9 + 0.8 + 0.7 + 0.1) / 4 and (0.8 + 0.8 + 0.9 + 0.7 + 0.55 + 0.05) / 6.
    least = thresholds(GIVEN, PROBABILITIES)
    assert least == pytest.approx([0.625, 3.8 / 6])
    # The row with 0.45 reaches no threshold: it does not count.
    counts = confident_counts(GIVEN, PROBABILITIES, least)
    assert counts.tolist() == [[3, 1], [1, 4]]
    # Of the four given 0 a quarter, of the six given 1 a fifth is the other: 3, 1, 1.2 and 4.8 of ten.
    joint = estimated_joint(counts, np.bincount(GIVEN))
    assert joint == pytest.approx(np.array([[0.3, 0.1], [0.12, 0.48]]))
    judged = judge(GIVEN, PROBABILITIES)
    assert np.flatnonzero(judged.suspect).tolist() == [3, 9]
    assert judged.suspicion == pytest.approx([0.1, 0.2, 0.3, 0.9, 0.2, 0.2, 0.1, 0.3, 0.45, 0.95])


def test_labels_that_no_row_has_confidently_are_taken_as_right() -> None:
    # Nothing reaches label 1's threshold but what was given it; label 2 has no row at all.
    probabilities = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.4, 0.5, 0.1]])
    judged = judge(np.array([0, 0, 1]), probabilities)
    assert not judged.suspect.any()
    assert judged.joint.sum() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.8])
def test_of_suspected_labels_as_many_are_wrong_as_is_said(temperature: float) -> None:
    # A weak model whose probabilities are right at some temperature, and 8 % of the labels replaced.
    source = np.random.default_rng(4)
    logits = source.normal(0, 2.2, (6000, 5))
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (right.cumsum(axis=1) > source.random((6000, 1))).argmax(axis=1)
    wrong = source.random(6000) < 0.08
    given = np.where(wrong, (truth + source.integers(1, 5, 6000)) % 5, truth)
    told = right ** (1 / temperature)
    chances = chance_of_error(given, (told / told.sum(axis=1, keepdims=True)).astype(np.float32))
    assert chances.sum() == pytest.approx(wrong.sum(), rel=0.2)
    for least in (0.3, 0.5):
        suspect = chances > least
        assert wrong[suspect].mean() == pytest.approx(chances[suspect].mean(), abs=0.07)
    # Where all labels are right, hardly any is suspected.
    assert (chance_of_error(truth, right.astype(np.float32)) > 0.5).mean() < 0.005


def plant(job: Job) -> np.ndarray:
    """Give every nineteenth row another label; which, bool [rows]."""
    path = job.inputs / "data.parquet"
    table = pq.read_table(path)
    labels = np.array(table["label"].to_pylist(), dtype=object)
    names = sorted(set(labels))
    source = np.random.default_rng(7)
    wrong = np.arange(len(labels)) % 19 == 7
    for row in np.flatnonzero(wrong):
        labels[row] = source.choice([name for name in names if name != labels[row]])
    place = table.schema.get_field_index("label")
    pq.write_table(table.set_column(place, "label", pa.array(labels.tolist())), path)
    return wrong


@pytest.mark.parametrize("key", [TEXT, "tabular-classification"])
def test_planted_errors_are_found_in_all_splits(key: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, key)
    truth = pq.read_table(job.inputs / "data.parquet")["label"].to_pylist()
    wrong = plant(job)
    run(job)
    found = pq.read_table(job.output / "suspects.parquet")
    assert found.schema.names == ["row", "predicted", "label_probability", "suspicion", "suspect"]
    assert found["row"].to_pylist() == list(range(len(truth)))
    suspect = found["suspect"].to_numpy()
    assert (suspect & wrong).sum() >= 0.7 * wrong.sum()
    assert (suspect & wrong).sum() >= 0.8 * suspect.sum()
    splits = np.array(pq.read_table(job.inputs / "data.parquet", columns=["split"])["split"].to_pylist())
    assert set(splits[suspect]) == {"train", "validation", "test"}
    predicted = found["predicted"].to_pylist()
    right = [predicted[row] == truth[row] for row in np.flatnonzero(suspect & wrong)]
    assert np.mean(right) > 0.8
    suspicion = found["suspicion"].to_numpy()
    assert suspicion[wrong].mean() > 0.7 > 0.3 > suspicion[~wrong].mean()
    told = job.result["report"]["suspected_labels"]
    assert (told["rows"], told["of_rows"], told["suspected"]) == (len(truth), len(truth), suspect.sum())
    assert 0.5 * told["suspected"] < told["expected"] <= told["suspected"]
    assert sum(pair["rows"] for pair in told["pairs"]) + told["others"] == told["suspected"]
    assert "suspects.parquet" in job.result["files"]


def test_the_models_of_a_cross_validation_judge_the_rows_that_they_did_not_learn_from(tmp_path: Path) -> None:
    job = make_job(tmp_path, "tabular-classification", folds=2, epochs=8)
    wrong = plant(job)
    run(job)
    told = job.result["report"]["suspected_labels"]
    assert (told["method"], told["rows"]) == ("the models of 2 folds", len(wrong))
    suspect = pq.read_table(job.output / "suspects.parquet")["suspect"].to_numpy()
    assert (suspect & wrong).sum() > 0.5 * max(wrong.sum(), suspect.sum())


def test_images_that_a_network_learned_from_are_not_judged_by_it(tmp_path: Path) -> None:
    job = make_job(tmp_path, "image-classification", epochs=3)
    wrong = plant(job)
    run(job)
    splits = np.array(pq.read_table(job.inputs / "data.parquet", columns=["split"])["split"].to_pylist())
    found = pq.read_table(job.output / "suspects.parquet")
    judged = np.flatnonzero(splits != "train")
    assert found["row"].to_pylist() == judged.tolist()
    told = job.result["report"]["suspected_labels"]
    assert (told["rows"], told["of_rows"]) == (len(judged), len(wrong))
    suspect = found["suspect"].to_numpy()
    assert (suspect & wrong[judged]).sum() > 0.5 * suspect.sum() > 0


def test_a_job_may_leave_the_labels_alone(tmp_path: Path) -> None:
    job = run(make_job(tmp_path, TEXT, check_labels=False, epochs=1))
    assert list(job.result["files"]) == ["bundle.zip"]
    assert job.result["report"]["suspected_labels"] is None


def test_each_label_of_several_is_a_question_of_its_own() -> None:
    # Twelve rows have label 0 and twelve lack it; of each half the last looks like the other. Label 1 is too rare.
    given = np.zeros((24, 2), dtype=np.uint8)
    given[:12, 0] = 1
    given[3, 1] = 1
    probabilities = np.where(given > 0, 0.9, 0.1).astype(np.float32)
    probabilities[11, 0], probabilities[23, 0] = 0.05, 0.95
    probabilities[:, 1] = 0.99
    every = np.ones(given.shape, dtype=bool)
    assert np.argwhere(suspected(given, probabilities, every)).tolist() == [[11, 0], [23, 0]]
    every[11] = False
    assert np.argwhere(suspected(given, probabilities, every)).tolist() == [[23, 0]]


def test_the_least_likely_label_counts_most_in_the_suspicion_of_a_row() -> None:
    # Highest first: 0.8 · 0.2 + 0.2 · (0.8 · 0.5 + 0.2 · 0.9).
    confidence = np.array([[0.5, 0.9, 0.2], [0.9, 0.9, 0.9], [1.0, 1.0, 0.0]])
    assert suspicion(confidence) == pytest.approx([1 - 0.276, 0.1, 0.8])
    wide = np.concatenate([np.ones((3, 40)), confidence], axis=1)
    assert suspicion(wide) == pytest.approx(suspicion(np.concatenate([np.ones((3, 5)), confidence], axis=1)), abs=1e-5)


def plant_in_sets(job: Job) -> tuple[list[list[str]], np.ndarray]:
    """Add a label to every nineteenth row that lacks it, or take it away; the true sets, and which rows."""
    path = job.inputs / "data.parquet"
    table = pq.read_table(path)
    truth = table["labels"].to_pylist()
    names = sorted({label for one in truth for label in one})
    wrong = np.arange(len(truth)) % 19 == 7
    sets = [
        sorted(set(one) ^ {names[row // 19 % len(names)]}) if bad else one
        for row, (one, bad) in enumerate(zip(truth, wrong, strict=True))
    ]
    for name, values in (("labels", sets), ("label", [json.dumps(one) for one in sets])):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table, path)
    return truth, wrong


def test_of_several_labels_those_that_are_missing_or_wrong_are_told(tmp_path: Path) -> None:
    job = Job.create(tmp_path, make_spec(TEXT, parameters={"epochs": 3}))
    toy.write_toy_text_sets(job.inputs / "data.parquet", 0)
    truth, wrong = plant_in_sets(job)
    given = pq.read_table(job.inputs / "data.parquet")["labels"].to_pylist()
    run(job)
    found = pq.read_table(job.output / "suspects.parquet")
    assert found.schema.names == ["row", "predicted", "label_probability", "suspicion", "suspect"]
    assert found["row"].to_pylist() == list(range(len(truth)))
    suspect, predicted = found["suspect"].to_numpy(), [json.loads(one) for one in found["predicted"].to_pylist()]
    assert (suspect & wrong).sum() >= 0.6 * wrong.sum()
    assert (suspect & wrong).sum() >= 0.7 * suspect.sum()
    # What is not suspected stays as it is; what is suspected rightly gets its true labels back.
    assert all(predicted[row] == given[row] for row in np.flatnonzero(~suspect))
    assert np.mean([predicted[row] == truth[row] for row in np.flatnonzero(suspect & wrong)]) > 0.8
    suspicions = found["suspicion"].to_numpy()
    assert suspicions[wrong].mean() > 0.6 > 0.4 > suspicions[~wrong].mean()
    told = job.result["report"]["suspected_labels"]
    assert (told["rows"], told["suspected"], told["pairs"]) == (len(truth), suspect.sum(), [])
    differences = [set(predicted[row]) ^ set(given[row]) for row in range(len(truth))]
    assert sum(one["missing"] + one["wrong"] for one in told["labels"]) == sum(map(len, differences))
    assert {one["label"] for one in told["labels"]} == set().union(*differences)
    assert "seems missing" in (job.bundle / "README.md").read_text()
