"""The page of a model: what was measured, in words that a product person reads."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.registry.models import ModelVersion
from apps.teams.models import User
from apps.training.models import Job
from tests.cast import Cast
from workers.contracts.report import (
    Baseline,
    Calibration,
    ClassificationReport,
    ClassificationSplit,
    ClassScores,
    Confusion,
    Interval,
    Mistake,
    RankingSplit,
    RecommendationReport,
    ReliabilityBin,
    Slice,
    SuspectedLabels,
    Temperature,
    UserGroup,
)

pytestmark = pytest.mark.django_db

Browser = Callable[[User], Client]


def scores(label: str, f1: float, **areas: float) -> ClassScores:
    return ClassScores(label=label, precision=f1, recall=f1, f1=f1, support=30, train_rows=240, **areas)


def classified() -> ClassificationReport:
    test = ClassificationSplit(
        rows=60,
        labels=["good", "<b>bad</b>"],
        metrics={"accuracy": 0.9, "macro_f1": 0.88},
        intervals={"accuracy": Interval(low=0.81, high=0.96)},
        undefined={"roc_auc": "All rows have the same label."},
        per_class=[scores("good", 0.95), scores("<b>bad</b>", 0.81)],
        confusion=[[28, 2], [4, 26]],
        confusions=[Confusion(label="<b>bad</b>", predicted="good", rows=4)],
        mistakes=[Mistake(row=7, input="Not <i>that</i> good", label="<b>bad</b>", predicted="good", score=0.987)],
        calibration=Calibration(
            error_before=0.09,
            error=0.03,
            bins=[ReliabilityBin(low=0.9, high=1.0, rows=60, confidence=0.95, accuracy=0.9)],
        ),
        slices=[
            Slice(group="Script", name="Latin", rows=40, accuracy=0.95, interval=Interval(low=0.83, high=0.99)),
            Slice(group="Script", name="Japanese", rows=20, accuracy=0.8, interval=Interval(low=0.58, high=0.92)),
        ],
    )
    return ClassificationReport(
        labels=["good", "<b>bad</b>"],
        splits={"test": test},
        baseline=Baseline(name="majority class", label="good", test={"accuracy": 0.5}),
        temperature=Temperature(value=1.7, rows=200, log_loss_before=0.4, log_loss=0.3),
    )


def shown(browser_of: Browser, cast: Cast, report: dict[str, Any], metrics: dict[str, Any], kind: str = "text") -> str:
    model = cast.ours.model
    ModelVersion.objects.filter(pk=model.pk).update(report=report, metrics=metrics, kind=kind)
    reply = browser_of(cast.victor).get(f"/models/{model.pk}")
    assert reply.status_code == 200
    return reply.content.decode()


def test_labels_that_look_wrong_are_told_and_lead_to_their_rows(browser_of: Browser, cast: Cast) -> None:
    report = classified()
    pairs = [Confusion(label="<b>bad</b>", predicted="good", rows=20)]
    report.suspected_labels = SuspectedLabels(
        rows=190, of_rows=200, suspected=23, pairs=pairs, others=3, method="a model"
    )
    page = shown(browser_of, cast, report.model_dump(mode="json"), {"test": report.splits["test"].metrics})
    version = cast.ours.model.dataset_version
    assert "23 labels of the data look wrong." in page and "190 of 200 rows were checked" in page
    rows = f"/datasets/{version.dataset_id}/rows?version={version.number}&amp;suspects=1&amp;sort=suspicion"
    assert f'href="{rows}"' in page and f'href="{rows}&amp;label=%3Cb%3Ebad%3C%2Fb%3E"' in page
    assert "Of the others nothing can be said" in page and "Check all rows" not in page, "Victor may only look"
    bobs = browser_of(cast.bob).get(f"/models/{cast.ours.model.pk}").content.decode()
    assert f'action="/jobs/{cast.ours.model.job_id}/retry"' in bobs and "Check all rows" in bobs
    report.suspected_labels.rows = 200
    ModelVersion.objects.update(report=report.model_dump(mode="json"))
    assert "Check all rows" not in browser_of(cast.bob).get(f"/models/{cast.ours.model.pk}").content.decode()
    report.suspected_labels = None
    assert "suspects=1" not in shown(browser_of, cast, report.model_dump(mode="json"), {"test": {"accuracy": 0.9}})


def test_all_labels_are_checked_by_one_click(browser_of: Browser, cast: Cast) -> None:
    job = cast.ours.model.job
    Job.objects.filter(pk=job.pk).update(parameters={"average_folds": False})
    reply = browser_of(cast.bob).post(f"/jobs/{job.pk}/retry", {"folds": "1"})
    assert reply.status_code == 303
    again = Job.objects.get(pk=reply["Location"].rpartition("/")[2])
    assert again.parameters == {"average_folds": False, "folds": 5} and again.dataset_version == job.dataset_version


def test_a_classifiers_page_tells_what_was_measured(browser_of: Browser, cast: Cast) -> None:
    report = classified()
    page = shown(browser_of, cast, report.model_dump(mode="json"), {"test": report.splits["test"].metrics})
    words = " ".join(page.split())
    assert "90.0 %" in words and "between 81.0 % and 96.0 %" in words
    assert "Always “good” 50.0 %" in words.replace("</span>", "")
    assert "Not &lt;i&gt;that&lt;/i&gt; good" in words and "98.7 %" in words
    assert "q=Not%20%3Ci%3Ethat%3C%2Fi%3E%20good" in words
    assert "A temperature of 1.70, learned from 200 validation rows" in words
    assert "from 9.0 % to 3.0 %" in words
    assert "Japanese" in words and "58 % – 92 %" in words
    assert "All rows have the same label." in words
    assert "<b>bad" not in page


def test_a_recommenders_page_tells_what_was_measured(browser_of: Browser, cast: Cast) -> None:
    values = {f"{name}@{k}": 0.2 for name in ("recall", "ndcg", "mrr", "map") for k in (5, 10, 20)}
    group = UserGroup(
        name="5–9 items",
        least=5,
        most=9,
        users=12,
        metrics={"recall@20": 0.31},
        intervals={"recall@20": Interval(low=0.2, high=0.4)},
    )
    test = RankingSplit(
        users=90,
        users_without_history=1,
        held_out=180,
        held_out_unknown_items=2,
        already_seen=0,
        metrics={**values, "coverage@10": 0.4},
        intervals={"recall@20": Interval(low=0.15, high=0.25)},
        baselines={"item-knn": {"recall@20": 0.18}, "popularity": {"recall@20": 0.05}},
        gains={"item-knn": {"recall@20": Interval(low=-0.01, high=0.05)}},
        by_history=[group],
    )
    report = RecommendationReport(splits={"test": test}, catalogue={"items": 9, "users": 9})
    page = shown(browser_of, cast, report.model_dump(mode="json"), {"test": test.metrics}, "recommendation")
    words = " ".join(page.replace("</span>", "").split())
    assert "90 users, test split" in words and "between 0.150 and 0.250" in words
    assert "popularity 0.050" in words and "item-kNN 0.180" in words
    assert "Not surely better than item-kNN" in words
    assert "5–9 items" in words and "0.310" in words
    for name in ("Recall@5", "NDCG@10", "MRR@20", "MAP@5", "Coverage"):
        assert name in words


@pytest.mark.parametrize("kind", ["text", "recommendation"])
def test_reports_from_before_there_was_a_schema_are_still_shown(browser_of: Browser, cast: Cast, kind: str) -> None:
    reports: dict[str, dict[str, Any]] = {
        "text": {
            "labels": ["a", "b"],
            "splits": {
                "test": {
                    "per_class": [{"label": "a", "precision": 1.0, "recall": 0.5, "f1": 0.667, "support": 2}],
                    "labels": ["a", "b"],
                    "confusion": [[1, 1], [0, 2]],
                    "mistakes": [{"row": 3, "input": "hm", "label": "a", "predicted": "b", "score": 0.9}],
                }
            },
            "baseline": {"name": "majority class", "label": "a", "test": {"accuracy": 0.5}},
        },
        "recommendation": {
            "splits": {
                "test": {
                    "users": 3,
                    "users_without_history": 0,
                    "held_out": 5,
                    "held_out_unknown_items": 0,
                    "already_seen": 0,
                }
            },
            "examples": [],
            "notes": ["n"],
            "catalogue": {"items": 5, "users": 3},
            "algorithm": {"name": "ease"},
            "trials": [],
            "ratings": {"mode": "ignore"},
        },
    }
    metrics = {"test": {"accuracy": 0.75, "recall@20": 0.3, "popularity": {"recall@20": 0.125}}}
    page = shown(browser_of, cast, reports[kind], metrics, kind)
    assert ("75.0 %" if kind == "text" else "0.300") in page
    assert ("0.5000" if kind == "text" else "0.125") in page
