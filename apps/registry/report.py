"""A model's evaluation, arranged for reading. Nothing is computed here that the engine has not measured."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.registry.models import ModelVersion

_NAMES = {
    "accuracy": gettext_lazy("Accuracy"),
    "macro_f1": gettext_lazy("Macro F1"),
    "macro_precision": gettext_lazy("Macro precision"),
    "macro_recall": gettext_lazy("Macro recall"),
    "log_loss": gettext_lazy("Log loss"),
    "recall@10": gettext_lazy("Recall@10"),
    "ndcg@10": gettext_lazy("NDCG@10"),
    "recall@20": gettext_lazy("Recall@20"),
    "ndcg@20": gettext_lazy("NDCG@20"),
    "coverage@10": gettext_lazy("Coverage@10"),
}
_EXPLAINED = {
    "accuracy": gettext_lazy("Share of examples that got the right label."),
    "macro_f1": gettext_lazy("Balance of precision and recall, every class counted alike."),
    "macro_precision": gettext_lazy("Of what was given a label, how much deserved it; every class counted alike."),
    "macro_recall": gettext_lazy("Of what deserved a label, how much got it; every class counted alike."),
    "log_loss": gettext_lazy("How far the probabilities are from the truth; smaller is better."),
    "recall@10": gettext_lazy("Share of the held-out items found in the first 10."),
    "ndcg@10": gettext_lazy("As recall@10, but early places count more."),
    "recall@20": gettext_lazy("Share of the held-out items found in the first 20."),
    "ndcg@20": gettext_lazy("As recall@20, but early places count more."),
    "coverage@10": gettext_lazy("Share of the catalogue that is recommended to somebody."),
}
# Beyond this many classes a confusion matrix is no longer readable; the per-class table is.
_MATRIX_CLASSES = 40


def headline(model: ModelVersion) -> dict[str, Any]:
    """The one figure by which models of a kind are compared, on the test split (validation where there is none)."""
    name = "recall@20" if model.kind == "recommendation" else "accuracy"
    split = "test" if name in model.metrics.get("test", {}) else "validation"
    return {"name": _NAMES[name], "value": model.metrics.get(split, {}).get(name), "split": split}


def metric_rows(model: ModelVersion) -> list[dict[str, Any]]:
    """One row per metric: its value on both splits and, for recommendation, the popularity baseline's on test."""
    test, validation = model.metrics.get("test", {}), model.metrics.get("validation", {})
    names = [name for name in _NAMES if name in test or name in validation]
    return [
        {
            "name": _NAMES[name],
            "explained": _EXPLAINED[name],
            "test": test.get(name),
            "validation": validation.get(name),
            "baseline": (test.get("popularity") or {}).get(name),
        }
        for name in names
    ]


def context(model: ModelVersion) -> dict[str, Any]:
    """Everything the model page shows of the report."""
    splits = model.report.get("splits", {})
    split = "test" if splits.get("test") else "validation"
    part = splits.get(split) or {}
    labels = model.report.get("labels") or []
    matrix = part.get("confusion")
    return {
        "headline": headline(model),
        "metrics": metric_rows(model),
        "parameters": [(name, value) for name, value in sorted(model.parameters.items()) if value is not None],
        "is_ranking": model.kind == "recommendation",
        "report_split": split,
        "per_class": part.get("per_class") or [],
        "mistakes": (part.get("mistakes") or [])[:20],
        "confusion": confusion_chart(labels, matrix) if matrix and len(labels) <= _MATRIX_CLASSES else None,
        "baseline": model.report.get("baseline"),
        "examples": (model.report.get("examples") or [])[:5],
    }


def confusion_chart(labels: list[str], matrix: list[list[int]]) -> dict[str, Any]:
    """ECharts option of a confusion matrix: true labels downwards, predicted to the right, shaded by row share."""
    # The counts themselves, as long as they fit into their cells.
    label = {"show": len(labels) <= 12, "formatter": "{@[3]}"}
    cells = []
    for true, row in enumerate(matrix):
        total = sum(row) or 1
        cells += [[predicted, true, round(count / total, 4), count] for predicted, count in enumerate(row)]
    return {
        "tooltip": {},
        "grid": {"top": 8, "right": 8, "left": 4, "bottom": 40},
        "xAxis": {"type": "category", "data": labels, "name": _("predicted"), "nameLocation": "middle", "nameGap": 30},
        "yAxis": {"type": "category", "data": labels, "inverse": True},
        "visualMap": {"show": False, "min": 0, "max": 1, "dimension": 2, "inRange": {"opacity": [0.04, 1]}},
        "series": [{"type": "heatmap", "data": cells, "encode": {"tooltip": [3]}, "label": label}],
    }
