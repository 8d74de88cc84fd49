"""Metrics of classifiers beside scikit-learn's, intervals that keep their promise, scores that say how sure to be."""

from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch

from workers.engine.calibration import LEAST_ROWS, Tempered, fit_temperature, tempered
from workers.engine.evaluation import Rows, evaluate_rows, majority_metrics
from workers.engine.metrics import (
    areas,
    bootstrap,
    calibration_error,
    classification_metrics,
    confusion_matrix,
    wilson,
)
from workers.engine.slices import class_sizes, scripts, sliced, text_lengths


def guesses(rows: int, labels: int, seed: int, digits: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """True labels, and scores that know something of them; few digits make ties."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, labels, rows)
    logits = random.normal(size=(rows, labels))
    logits[np.arange(rows), truth] += 1.0
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, scores.round(digits)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_scikit_learn_also_where_a_label_never_occurs(seed: int) -> None:
    truth, scores = guesses(200, 5, seed)
    truth[truth == 4] = 3
    answered = scores.argmax(axis=1)
    found = classification_metrics(truth, scores)
    for average in ("macro", "weighted"):
        common: dict[str, Any] = {"average": average, "zero_division": 0}
        assert found[f"{average}_f1"] == pytest.approx(sklearn.metrics.f1_score(truth, answered, **common))
        assert found[f"{average}_precision"] == pytest.approx(
            sklearn.metrics.precision_score(truth, answered, **common)
        )
        assert found[f"{average}_recall"] == pytest.approx(sklearn.metrics.recall_score(truth, answered, **common))
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, answered))
    assert found["log_loss"] == pytest.approx(sklearn.metrics.log_loss(truth, scores, labels=range(5)))
    expected = sklearn.metrics.confusion_matrix(truth, answered, labels=range(5))
    assert np.array_equal(confusion_matrix(truth, answered, 5), expected)


@pytest.mark.parametrize("digits", [9, 1])
def test_areas_under_the_curves_are_those_of_scikit_learn_also_with_ties(digits: int) -> None:
    truth, scores = guesses(300, 4, 7, digits)
    roc, precision_recall = areas(truth, scores)
    for label in range(4):
        assert roc[label] == pytest.approx(sklearn.metrics.roc_auc_score(truth == label, scores[:, label]))
        assert precision_recall[label] == pytest.approx(
            sklearn.metrics.average_precision_score(truth == label, scores[:, label])
        )


def rows_of(truth: np.ndarray, scores: np.ndarray) -> Rows:
    labels = [f"label {number}" for number in range(scores.shape[1])]
    return Rows(truth, scores, labels, np.bincount(truth, minlength=len(labels)))


def test_what_a_split_cannot_tell_has_no_value_but_a_reason() -> None:
    truth, scores = guesses(50, 3, 1)
    one = evaluate_rows(rows_of(np.zeros_like(truth), scores), seed=0)
    assert "roc_auc" not in one.metrics and "pr_auc" not in one.metrics
    assert set(one.undefined) == {"roc_auc", "pr_auc"} and all(one.undefined.values())
    truth[truth == 2] = 0
    report = evaluate_rows(rows_of(truth, scores), seed=0)
    assert report.per_class[2].roc_auc is None and report.per_class[2].pr_auc is None
    present = [row.roc_auc for row in report.per_class[:2] if row.roc_auc is not None]
    assert report.metrics["roc_auc"] == pytest.approx(np.mean(present), abs=1e-5)
    assert report.undefined == {}
    report.model_validate_json(report.model_dump_json())


def test_the_confusion_matrix_of_many_classes_is_left_to_its_commonest_pairs() -> None:
    truth, scores = guesses(2000, 201, 2)
    report = evaluate_rows(rows_of(truth, scores), seed=0)
    assert report.confusion == [] and len(report.confusions) == 50
    matrix = confusion_matrix(truth, scores.argmax(axis=1), 201)
    first = report.confusions[0]
    np.fill_diagonal(matrix, 0)
    assert first.rows == matrix.max()
    assert matrix[int(first.label[6:]), int(first.predicted[6:])] == first.rows


def test_always_answering_the_majority_is_measured_on_the_same_rows() -> None:
    truth, scores = guesses(100, 3, 3)
    found = majority_metrics(rows_of(truth, scores), 1)
    assert found["accuracy"] == pytest.approx((truth == 1).mean())
    assert "log_loss" not in found


def test_intervals_hold_the_true_value_about_as_often_as_they_say() -> None:
    truth, scores = guesses(20_000, 3, 4)
    whole = classification_metrics(truth, scores)
    random = np.random.default_rng(5)
    held = dict.fromkeys(("accuracy", "macro_f1", "log_loss"), 0)
    rounds = 120
    for number in range(rounds):
        some = random.choice(len(truth), 300, replace=False)
        intervals = bootstrap(truth[some], scores[some], seed=number)
        for name in held:
            low, high = intervals[name]
            held[name] += low <= whole[name] <= high
    # Of 120 intervals of 95 %, fewer than 105 or all of 120 would each be a one-in-hundreds accident.
    assert all(105 <= count < 120 for count in held.values()), held


def test_intervals_are_the_same_for_the_same_seed_and_shrink_with_rows() -> None:
    truth, scores = guesses(4000, 3, 6)
    assert bootstrap(truth, scores, 1) == bootstrap(truth, scores, 1)
    few, many = bootstrap(truth[:100], scores[:100], 1), bootstrap(truth, scores, 1)
    for name in many:
        assert many[name][1] - many[name][0] < few[name][1] - few[name][0]


def test_twenty_right_answers_are_no_certainty() -> None:
    report = evaluate_rows(rows_of(np.arange(20) % 2, np.eye(2)[np.arange(20) % 2]), seed=0)
    assert report.metrics["accuracy"] == 1.0
    assert 0.8 < report.intervals["accuracy"].low < 0.9
    assert "macro_f1" not in report.intervals
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def overconfident(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores three times as sharp as the truth was drawn by."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 4)) * 1.5
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([random.choice(4, p=row) for row in shares])
    sharp = torch.softmax(torch.tensor(3 * logits, dtype=torch.float32), dim=1).numpy()
    return truth, sharp


def test_temperature_finds_how_sharp_scores_are_and_changes_no_answer() -> None:
    truth, scores = overconfident(3000, 0)
    fitted = fit_temperature(truth, scores)
    assert fitted.value == pytest.approx(3.0, rel=0.12)
    assert fitted.log_loss is not None and fitted.log_loss_before is not None
    assert fitted.log_loss < fitted.log_loss_before
    other, raw = overconfident(3000, 1)
    cooled = tempered(raw, fitted.value)
    assert calibration_error(other, cooled) < calibration_error(other, raw) / 3
    assert np.array_equal(cooled.argmax(axis=1), raw.argmax(axis=1))
    assert cooled.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_what_the_graph_computes_is_what_was_evaluated() -> None:
    logits = torch.randn((50, 6), generator=torch.Generator().manual_seed(0)) * 30
    folded = torch.softmax(Tempered(torch.nn.Identity(), 2.5)(logits), dim=1).numpy()
    assert np.abs(tempered(torch.softmax(logits, dim=1).numpy(), 2.5) - folded).max() < 1e-6


def test_scores_are_left_alone_where_no_temperature_can_be_trusted() -> None:
    truth, scores = overconfident(LEAST_ROWS - 1, 0)
    few = fit_temperature(truth, scores)
    assert few.value == 1.0 and few.reason
    # Labels the model does not know say nothing about it.
    unknown = fit_temperature(np.append(truth, [-1, -1]), np.concatenate([scores, scores[:2]]))
    assert unknown.value == 1.0 and unknown.rows == LEAST_ROWS - 1
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(3), 400)
    calibrated = fit_temperature(np.array([random.choice(3, p=row) for row in shares]), shares.astype(np.float32))
    assert calibrated.value == pytest.approx(1.0, abs=0.2)


def test_answers_that_are_all_right_become_surer_within_reason() -> None:
    truth = np.arange(400) % 2
    scores = np.where(np.eye(2)[truth] == 1, 0.9, 0.1).astype(np.float32)
    cooled = tempered(scores, fit_temperature(truth, scores).value)
    # One pair of rows more, of which one is wrong: no surer than 401 of 402.
    assert 0.99 < cooled.max() <= 401 / 402 + 1e-3


def test_slices_part_texts_by_length_and_script() -> None:
    texts = ["short", "x" * 30, "我很喜欢这个", "とても古い東京", "Это новое", "12 :)", "hello 我很喜欢这个世界 ok"]
    right = np.array([True, False, True, True, False, True, False])
    found = {part.name: part for part in sliced("Script", scripts(texts), right)}
    assert set(found) == {"Latin", "Chinese characters", "Japanese", "Cyrillic", "No letters", "Mixed"}
    assert (found["Latin"].rows, found["Latin"].accuracy) == (2, 0.5)
    lengths = sliced("Length", text_lengths(texts), right)
    assert [(part.name, part.rows) for part in lengths] == [("1–20", 6), ("21–50", 1)]
    assert lengths[1].interval.low == 0.0 and lengths[1].interval.high > 0.5
    sizes = sliced("Rows", class_sizes(np.array([0, 9, 10, 5000, 50_000, 50_000, 3])), right)
    assert [part.name for part in sizes] == ["0", "1–9", "10–29", "1,000–9,999", "over 9,999"]
    # One slice says nothing that the whole does not.
    assert sliced("Script", scripts(["a", "b"]), np.array([True, False])) == []
