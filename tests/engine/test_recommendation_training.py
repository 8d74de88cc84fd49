"""Training a recommender from end to end: what is learned, measured, certified, and resumed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.recommending import Row, answer, bundle, names, start_run, toy, train, write_rows
from workers.contracts.errors import JobError
from workers.engine.recommenders.train import train_recommender
from workers.engine.recommenders.trained import TrainedRecommender
from workers.engine.run import Run

ALS: dict[str, Any] = {"algorithm": "als", "factors": 4, "iterations": 4, "trials": 2}
METRICS = {f"{name}@{k}" for name in ("recall", "ndcg", "mrr", "map") for k in (5, 10, 20)}
METRICS |= {"coverage@10", "novelty@10", "gini@10", "popularity_lift@10"}


class Killed(BaseException):
    """Stands for the end of the process."""


def assert_same_model(found: TrainedRecommender, expected: TrainedRecommender) -> None:
    for one, other in zip(found.model.components, expected.model.components, strict=True):
        assert torch.equal(one.gather, other.gather)
        assert one.decay == other.decay


def events(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.job_dir.events_path.read_text().splitlines()]


@pytest.mark.parametrize("parameters", [{}, ALS], ids=["ease", "als"])
def test_the_known_answer_is_found_and_certified(parameters: dict[str, Any], tmp_path: Path) -> None:
    trained = train(tmp_path / "job", toy(tmp_path), **parameters)
    metrics, report = trained.evaluate()
    for split in ("validation", "test"):
        assert metrics[split]["recall@10"] == 1.0
        assert metrics[split]["recall@10"] > metrics[split]["popularity"]["recall@10"]
        assert set(metrics[split]) == METRICS | {"popularity", "item-knn"}
        assert set(metrics[split]["popularity"]) == set(metrics[split]["item-knn"]) == METRICS
        assert report["splits"][split]["users"] == 80
    used = {part["algorithm"] for part in report["algorithm"]["parts"]}
    assert used == {"als"} if parameters else used <= {"ease", "als", "item-knn", "popularity"}
    assert len(report["examples"]) == 5
    assert report["most_recommended"]

    predictor = bundle(trained, tmp_path / "bundle")
    certificate = trained.certify(predictor)
    assert certificate.passed
    assert (certificate.examples, certificate.label_flips, certificate.split) == (80, 0, "test")
    for raw, prediction in zip(trained.reference_cases(), answer(predictor, *trained.reference_cases()), strict=True):
        assert prediction["items"], raw
    assert json.dumps([metrics, report], allow_nan=False)


def test_where_not_all_users_are_judged_and_certified_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine.recommenders.train._JUDGED", 30)
    monkeypatch.setattr("workers.engine.recommenders.trained._CERTIFIED", 50)
    trained = train(tmp_path / "job", toy(tmp_path), algorithm="ease")
    splits = trained.evaluate()[1]["splits"]
    assert (splits["test"]["users"], splits["test"]["of_users"]) == (30, 80)
    assert (splits["validation"]["users"], splits["validation"]["of_users"]) == (80, None)
    certificate = trained.certify(bundle(trained, tmp_path / "bundle"))
    assert certificate.passed and (certificate.examples, certificate.of) == (50, 80)
    assert certificate.compared == "50 of 80 test"


def test_a_changed_model_is_not_certified(tmp_path: Path) -> None:
    trained = train(tmp_path / "job", toy(tmp_path), **ALS)
    predictor = bundle(trained, tmp_path / "bundle")
    trained.model.components[0].gather.neg_()
    certificate = trained.certify(predictor)
    assert not certificate.passed
    assert certificate.label_flips == 80


def test_test_rows_never_reach_the_model(tmp_path: Path) -> None:
    """With other test rows, or none, the bundle is the same to the byte."""
    import pyarrow.compute
    import pyarrow.parquet

    path = toy(tmp_path)
    table = pyarrow.parquet.read_table(path).drop_columns(["row", "hash"])
    past = table.filter(pyarrow.compute.not_equal(table["split"], "test"))
    future = pyarrow.table({"split": ["test"] * 2, "user": ["u1", "from the future"], "item": ["metal-1", "new"]})
    pyarrow.parquet.write_table(pyarrow.concat_tables([past, future]), tmp_path / "other.parquet")
    pyarrow.parquet.write_table(past, tmp_path / "past.parquet")
    folders = []
    for name in ("toy", "other", "past"):
        folders.append(tmp_path / f"bundle-{name}")
        bundle(train(tmp_path / f"job-{name}", tmp_path / f"{name}.parquet"), folders[-1])
    for file in ("model.onnx", "items.json", "users.json", "histories.npz"):
        assert len({(folder / file).read_bytes() for folder in folders}) == 1, file


def test_validation_rows_are_learned_from_in_the_end(tmp_path: Path) -> None:
    rows: list[Row] = [(f"u{n}", item, "train") for n in range(12) for item in ("a", "b")]
    rows += [(f"u{n}", "c", "validation") for n in range(12)]
    data = write_rows(tmp_path / "data.parquet", [*rows, ("new", "a", "test")])
    trained = train(tmp_path / "job", data)
    metrics, report = trained.evaluate()
    assert metrics["validation"]["recall@10"] == 0.0
    assert metrics["test"]["recall@10"] == 1.0
    assert report["splits"]["validation"]["held_out_unknown_items"] == 12
    assert report["splits"]["test"]["users_without_history"] == 1
    (prediction,) = answer(bundle(trained, tmp_path / "bundle"), {"items": ["a", "b"]})
    assert names(prediction) == ["c"]


def test_without_test_rows_validation_is_certified(tmp_path: Path) -> None:
    rows: list[Row] = [(f"u{n}", f"i{(n + m) % 9}", "train") for n in range(40) for m in range(4)]
    rows += [(f"u{n}", f"i{(n + 5) % 9}", "validation") for n in range(40)]
    trained = train(tmp_path / "job", write_rows(tmp_path / "data.parquet", rows))
    metrics, _ = trained.evaluate()
    assert set(metrics) == {"validation"}
    certificate = trained.certify(bundle(trained, tmp_path / "bundle"))
    assert (certificate.split, certificate.examples, certificate.passed) == ("validation", 40, True)


def test_low_ratings_are_seen_but_not_liked(tmp_path: Path) -> None:
    rows: list[Row] = []
    ratings: list[float] = []
    for n in range(30):
        for item, stars in (("good", 5), ("fine", 4), ("bad", 1)):
            rows.append((f"u{n}", item, "train"))
            ratings.append(stars)
    rows += [("grump", "bad", "train"), ("fan", "good", "train"), ("u0", "late", "test")]
    ratings += [1, 5, 5]
    data = write_rows(tmp_path / "data.parquet", rows, ratings)
    trained = train(tmp_path / "job", data, ratings="threshold", min_rating=4)
    predictor = bundle(trained, tmp_path / "bundle")
    grump, fan, seen = answer(predictor, {"user": "grump"}, {"user": "fan"}, {"user": "u0", "exclude_seen": False})
    assert names(fan) == ["fine"]
    assert grump["fallback"] == "popularity"
    assert "bad" not in names(grump) + names(fan) + names(seen)
    weighted = bundle(
        train(tmp_path / "weighted", data, ratings="weight", algorithm="ease"), tmp_path / "weighted-bundle"
    )
    (prediction,) = answer(weighted, {"user": "fan"})
    assert names(prediction) == ["fine", "bad"]


def test_ratings_count_where_they_help_on_the_validation_rows(tmp_path: Path) -> None:
    """Half of each user's items are of their own group and rated five, the others of any and rated low."""
    source = np.random.default_rng(0)
    rows: list[Row] = []
    ratings: list[float | None] = []
    for user in range(150):
        own = source.permutation(20)[:10] + 20 * (user % 3)
        for place, item in enumerate(own):
            rows.append((f"u{user}", f"i{item:02}", "train" if place < 8 else "validation"))
            ratings.append(5.0)
        for item in np.setdiff1d(source.permutation(60)[:10], own):
            rows.append((f"u{user}", f"i{item:02}", "train"))
            ratings.append(0.5)
    data = write_rows(tmp_path / "data.parquet", rows, ratings)
    settings = {"algorithm": "ease", "trials": 1}
    run = start_run(tmp_path / "job", data, **settings)
    metrics, report = train_recommender(run).evaluate()
    assert run.chosen["ratings"] == report["ratings"]["mode"] == "weight"
    without, _ = train(tmp_path / "without", data, ratings="ignore", **settings).evaluate()
    assert metrics["validation"]["ndcg@20"] > without["validation"]["ndcg@20"]


@pytest.mark.parametrize(
    "parameters", [{"trials": 1, "factors": 4, "iterations": 3}, {**ALS, "iterations": 3}], ids=["blend", "als"]
)
def test_a_job_killed_after_any_checkpoint_goes_on_and_ends_the_same(
    parameters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy(tmp_path)
    whole = start_run(tmp_path / "whole", data, **parameters)
    expected = train_recommender(whole)
    steps = [event["step"] for event in events(whole) if event["type"] == "checkpoint"]
    assert steps == sorted(set(steps))
    fits = sum(event["type"] == "metric" for event in events(whole))
    for killed_after in sorted({1, 2, len(steps) // 2, len(steps)}):
        first = start_run(tmp_path / f"job-{killed_after}", data, **parameters)
        left, save = [killed_after], first.checkpoints.save

        def save_and_die(*arguments: Any, left: list[int] = left, save: Any = save) -> None:
            save(*arguments)
            left[0] -= 1
            if not left[0]:
                raise Killed

        monkeypatch.setattr(first.checkpoints, "save", save_and_die)
        with pytest.raises(Killed):
            train_recommender(first)
        first.job_dir.events_path.unlink()
        second = start_run(tmp_path / f"job-{killed_after}", data, **parameters)
        found = train_recommender(second)
        # It went on: what the first attempt measured is not measured again.
        assert sum(event["type"] == "metric" for event in events(second)) < fits
        assert_same_model(found, expected)
        assert found.evaluate() == expected.evaluate()


def test_a_damaged_checkpoint_means_starting_again(tmp_path: Path) -> None:
    data = toy(tmp_path)
    first = start_run(tmp_path / "job", data, **ALS)
    expected = train_recommender(first)
    for path in first.job_dir.checkpoints.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    second = start_run(tmp_path / "job", data, **ALS)
    found = train_recommender(second)
    assert_same_model(found, expected)
    warnings = [event["message"] for event in events(second) if event.get("level") == "warning"]
    assert len(warnings) == 1 and "damaged" in warnings[0]


def test_progress_only_rises_and_the_time_left_is_told(tmp_path: Path) -> None:
    run = start_run(tmp_path / "job", toy(tmp_path), **ALS)
    train_recommender(run)
    told = [event for event in events(run) if event["type"] == "progress"]
    fractions = [event["fraction"] for event in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(0.85)
    assert all("eta_seconds" in event for event in told[3:])


def test_what_the_user_sets_is_not_searched(tmp_path: Path) -> None:
    trained = train(tmp_path / "job", toy(tmp_path), algorithm="ease", regularization=7.0, dropout=0.0, trials=5)
    _, report = trained.evaluate()
    assert [trial["settings"] for trial in report["trials"]] == [{"regularization": 7.0, "dropout": 0.0}]
    assert report["algorithm"]["parts"][0]["settings"]["regularization"] == 7.0


def test_rows_that_teach_nothing_are_an_error_with_advice(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.parquet", [("a", "x", "train"), ("b", "y", "train"), ("a", "y", "test")])
    with pytest.raises(JobError) as caught:
        train(tmp_path / "job", data, min_interactions=2)
    assert caught.value.code == "too_few_rows"


def test_rows_that_leave_nothing_to_judge_by_are_an_error(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data.parquet", [("a", "x", "train"), ("b", "x", "train"), ("b", "x", "validation")])
    with pytest.raises(JobError) as caught:
        train(tmp_path / "job", data)
    assert caught.value.code == "too_few_rows"
    assert "judge" in caught.value.message


def test_ease_refuses_a_catalogue_it_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engine.recommenders.solvers.MAX_ITEMS", 5)
    with pytest.raises(JobError) as caught:
        train(tmp_path / "job", toy(tmp_path), algorithm="ease")
    assert caught.value.repair == {"action": "retry", "parameters": {"algorithm": "als"}}


def test_auto_takes_factorisation_for_large_catalogues_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine.recommenders.candidates.AUTO_ITEMS", 5)
    run = start_run(tmp_path / "job", toy(tmp_path), trials=1, iterations=3)
    trained = train_recommender(run)
    report = trained.evaluate()[1]
    assert {trial["algorithm"] for trial in report["trials"]} == {"als", "item-knn", "popularity"}
    # Why is told in the log, in the report and in what the model remembers of its making.
    reason = report["algorithm"]["reason"]
    assert "EASE" in reason and "GB" in reason
    assert run.chosen["why_algorithm"] == reason
    assert any(reason in event.get("message", "") for event in events(run))
    assert trained.certify(bundle(trained, tmp_path / "bundle")).passed
