"""Rows with several labels: measures, thresholds, and every way to a model that a job may ask for."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as sklearn

from tests.engine.jobs import TEXT, Job, make_spec, run
from workers.contracts.report import ClassificationReport, read_report
from workers.engine import several_labels
from workers.engine.calibration import Tempered, fit_temperature, tempered
from workers.engine.classification import TrainedClassifier
from workers.engine.logistic import Logistic
from workers.engine.run import Run
from workers.task_templates import TEMPLATES, toy


def drawn(rows: int = 400, labels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Sets and probabilities that know something of them."""
    source = np.random.default_rng(5)
    truth = (source.random((rows, labels)) < np.linspace(0.05, 0.6, labels)).astype(np.uint8)
    scores = np.clip(0.35 * truth + 0.6 * source.random((rows, labels)), 0.001, 0.999).astype(np.float32)
    return truth, scores


def test_measures_are_those_of_scikit_learn() -> None:
    truth, scores = drawn()
    answers = scores > 0.5
    found = several_labels.measure(truth, answers)
    for average in ("micro", "macro"):
        for name in ("precision", "recall", "f1"):
            expected = getattr(sklearn, f"{name}_score")(truth, answers, average=average, zero_division=0)
            assert found[f"{average}_{name}"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(truth, answers))
    assert found["hamming_loss"] == pytest.approx(sklearn.hamming_loss(truth, answers))
    expected = sklearn.average_precision_score(truth, scores, average="macro")
    assert several_labels.mean_average_precision(truth, scores) == pytest.approx(expected)


def test_a_threshold_is_where_its_label_has_the_best_f1_and_rare_labels_share_one() -> None:
    truth, scores = drawn()
    truth[:, 0] = 0
    truth[:3, 0] = 1
    found = several_labels.fit_thresholds(truth, scores)
    for k in range(1, truth.shape[1]):
        ours = sklearn.f1_score(truth[:, k], scores[:, k] >= found[k])
        best = max(sklearn.f1_score(truth[:, k], scores[:, k] >= at) for at in np.unique(scores[:, k]))
        assert ours == pytest.approx(best)
    shared = several_labels._best_threshold(truth.ravel() > 0, scores.ravel())
    assert found[0] == pytest.approx(shared, abs=1e-6)
    assert several_labels.fit_thresholds(truth[:0], scores[:0]).tolist() == [0.5] * truth.shape[1]


def test_intervals_hold_the_measures() -> None:
    truth, scores = drawn()
    rows = several_labels.SetRows(truth, scores, [f"l{k}" for k in range(6)], np.full(6, 0.5), truth.sum(axis=0))
    report = several_labels.evaluate_sets(rows, 1)
    for name in ("accuracy", "micro_f1", "macro_f1", "hamming_loss"):
        interval = report.intervals[name]
        assert interval.low < report.metrics[name] < interval.high < interval.low + 0.2
    assert [row.support for row in report.per_class] == truth.sum(axis=0).tolist()


def test_a_temperature_calms_scores_that_are_too_sure_of_each_label() -> None:
    source = np.random.default_rng(2)
    logits = source.normal(0, 1.5, (800, 4))
    truth = (source.random((800, 4)) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    scores = (1 / (1 + np.exp(-3 * logits))).astype(np.float32)
    found = fit_temperature(truth, scores)
    assert found.value == pytest.approx(3, rel=0.15) and found.log_loss < found.log_loss_before  # type: ignore[operator]
    assert tempered(scores, found.value, multi_label=True).mean() == pytest.approx(truth.mean(), abs=0.03)


def test_each_labels_logistic_regression_is_that_of_scikit_learn() -> None:
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    source = np.random.default_rng(3)
    rows = csr_matrix(source.random((120, 20)) * (source.random((120, 20)) < 0.3), dtype=np.float32)
    truth = (rows[:, :3].toarray() + 0.2 * source.random((120, 3)) > 0.25).astype(np.uint8)
    problem = Logistic(rows, truth, np.ones(3, np.float32), 3)
    weights, bias = problem.solve(5.0, 300, lambda: None)
    for k in range(3):
        theirs = LogisticRegression(C=5.0, tol=1e-8, max_iter=1000).fit(rows, truth[:, k])
        assert weights[:, k] == pytest.approx(theirs.coef_[0], abs=0.05)
        assert bias[k] == pytest.approx(theirs.intercept_[0], abs=0.05)


def trained(folder: Path, **parameters: Any) -> Job:
    job = Job.create(folder, make_spec(TEXT, parameters={"epochs": 3, "linear": True, **parameters}))
    toy.write_toy_text_sets(job.inputs / "data.parquet", 0)
    return run(job)


@pytest.mark.parametrize(
    "parameters",
    [
        {"folds": 2, "average_folds": True},
        {"tune": 2},
        {"networks": 2, "class_balance": "weights", "label_smoothing": 0.1},
        {"class_balance": "sampling", "linear": False},
    ],
    ids=["folds that answer together", "a search", "networks and weights", "sampling"],
)
def test_every_way_to_a_model_takes_several_labels(tmp_path: Path, parameters: dict[str, Any]) -> None:
    job = trained(tmp_path, **parameters)
    report = read_report(job.result["report"])
    assert isinstance(report, ClassificationReport) and report.multi_label
    assert job.result["metrics"]["test"]["micro_f1"] > 0.6
    assert job.result["certificate"]["passed"]
    if "folds" in parameters:
        assert report.cross_validation and "micro_f1" in report.cross_validation.mean
    if "tune" in parameters:
        assert report.search and report.search.metric == "micro_f1"


def test_without_validation_rows_every_label_is_answered_from_a_half_on(tmp_path: Path) -> None:
    job = Job.create(tmp_path, make_spec(TEXT, parameters={"epochs": 2}))
    toy.write_toy_text_sets(job.inputs / "data.parquet", 0)
    table = pq.read_table(job.inputs / "data.parquet").to_pylist()
    kept = [row for row in table if row["split"] != "validation"]
    pq.write_table(pa.Table.from_pylist(kept), job.inputs / "data.parquet")
    assert run(job).result["manifest"]["thresholds"] == [0.5] * 3


def test_scores_of_several_labels_that_are_too_sure_are_tempered_and_the_report_says_from_where(tmp_path: Path) -> None:
    parameters = {"epochs": 3, "linear": False}
    job_dir = Job.create(tmp_path, make_spec(TEXT, parameters=parameters))
    toy.write_toy_text_sets(job_dir.inputs / "data.parquet", 0)
    table = pq.read_table(job_dir.inputs / "data.parquet").to_pylist()
    # One validation row in three has another one's labels, which no model can know.
    judged = [row for row in table if row["split"] == "validation"]
    for row, other in zip(judged[::3], judged[1::3], strict=False):
        row["labels"] = other["labels"]
    table += [{**row, "row": len(table) + number} for number, row in enumerate(judged * 5)]
    pq.write_table(pa.Table.from_pylist(table), job_dir.inputs / "data.parquet")
    template = TEMPLATES[TEXT]
    on_sets = Run(job_dir, job_dir.spec(), template.resolve("fast", parameters))
    model = template.train(on_sets)
    assert isinstance(model, TrainedClassifier)
    # The same model, four times as sure of itself.
    TrainedClassifier.__init__(model, on_sets, Tempered(model.model, 0.25), model.labels, model.evaluation)
    report = model.evaluate()[1]
    calibration = report["splits"]["validation"]["calibration"]
    assert report["temperature"]["value"] > 1.5
    assert calibration["error"] < calibration["error_before"]
