"""A model's evaluation, arranged for reading. Nothing is computed here that the engine has not measured."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.registry import charts
from apps.registry.models import ModelVersion
from workers.contracts.report import (
    ClassificationReport,
    ClassificationSplit,
    Interval,
    Metrics,
    RankingSplit,
    RecommendationReport,
    Slice,
    UserGroup,
    read_report,
)

_NAMES: dict[str, tuple[str | Promise, str | Promise]] = {
    "micro_f1": (
        gettext_lazy("Micro F1"),
        gettext_lazy("Balance of precision and recall over all labels of all examples together."),
    ),
    "accuracy": (gettext_lazy("Accuracy"), gettext_lazy("Share of examples that got the right label.")),
    "macro_f1": (
        gettext_lazy("Macro F1"),
        gettext_lazy("Balance of precision and recall, every class counted alike."),
    ),
    "macro_precision": (
        gettext_lazy("Macro precision"),
        gettext_lazy("Of what was given a label, how much deserved it; every class counted alike."),
    ),
    "macro_recall": (
        gettext_lazy("Macro recall"),
        gettext_lazy("Of what deserved a label, how much got it; every class counted alike."),
    ),
    "weighted_f1": (gettext_lazy("Weighted F1"), gettext_lazy("As macro F1, but frequent classes count more.")),
    "micro_precision": (
        gettext_lazy("Micro precision"),
        gettext_lazy("Of all labels that were given, how many were deserved."),
    ),
    "micro_recall": (
        gettext_lazy("Micro recall"),
        gettext_lazy("Of all labels that were deserved, how many were given."),
    ),
    "mean_average_precision": (
        gettext_lazy("Mean average precision"),
        gettext_lazy("Precision over all levels of recall; mean over labels. Needs no threshold."),
    ),
    "hamming_loss": (
        gettext_lazy("Hamming loss"),
        gettext_lazy("Share of all single decisions, label by label, that are wrong; smaller is better."),
    ),
    "roc_auc": (
        gettext_lazy("ROC-AUC"),
        gettext_lazy("How well scores part a class from the others: 0.5 is chance, 1 perfect; mean over classes."),
    ),
    "pr_auc": (
        gettext_lazy("PR-AUC"),
        gettext_lazy("Precision over all levels of recall; mean over classes. Strict on rare classes."),
    ),
    "log_loss": (
        gettext_lazy("Log loss"),
        gettext_lazy("How far the probabilities are from the truth; smaller is better."),
    ),
    "calibration_error": (
        gettext_lazy("Calibration error"),
        gettext_lazy("By how much scores promise too much or too little, on average; smaller is better."),
    ),
}
_WHOLE_SETS: dict[str, tuple[str | Promise, str | Promise]] = {
    "accuracy": (
        gettext_lazy("Exact match"),
        gettext_lazy("Share of examples whose labels are all right: none is missing, none too many."),
    ),
}
_RANKED = {
    "recall": (gettext_lazy("Recall"), gettext_lazy("Share of the held-out items that the list finds.")),
    "ndcg": (gettext_lazy("NDCG"), gettext_lazy("As recall, but early places count more.")),
    "mrr": (gettext_lazy("MRR"), gettext_lazy("How early the first hit comes: 1 is always first, 0.5 second.")),
    "map": (gettext_lazy("MAP"), gettext_lazy("How pure the list is down to each hit.")),
}
_CUTOFFS = (20, 10, 5)
_BASELINES = {"popularity": gettext_lazy("popularity"), "item-knn": gettext_lazy("item-kNN")}
_LISTS = {
    "coverage": (gettext_lazy("Coverage"), gettext_lazy("Share of the catalogue that is recommended to somebody.")),
    "novelty": (
        gettext_lazy("Novelty"),
        gettext_lazy("How unknown the recommended items are, in bits: one more means half as many know them."),
    ),
    "gini": (
        gettext_lazy("Concentration (Gini)"),
        gettext_lazy("0: all items are recommended equally often; 1: always the same."),
    ),
    "popularity_lift": (
        gettext_lazy("Popularity bias"),
        gettext_lazy("How much more popular recommended items are than those people chose: 0 equal, 1 twice."),
    ),
}
# Beyond this many classes a confusion matrix is no longer readable; the list of its largest cells is.
_MATRIX_CLASSES = 30
_SHOWN_MISTAKES = 20
_SHOWN_CONFUSIONS = 8
_SEARCHED_CHARACTERS = 60


class Figure(NamedTuple):
    """A metric as a page shows it: the value of the report's split, what surrounds it, and other values beside it."""

    key: str
    name: str | Promise
    explained: str | Promise
    value: float | None
    interval: Interval | None
    validation: float | None
    beside: list[float | None]
    undefined: str | None = None


def metric_name(key: str) -> str | Promise:
    """What a metric is called on pages; its key where it has no other name, as recall@20."""
    return _NAMES.get(key, (key, ""))[0]


def headline(model: ModelVersion) -> dict[str, Any]:
    """The one figure by which models of a kind are compared, on the test split (validation where there is none)."""
    name = "recall@20" if model.kind == "recommendation" else main_figure(model.metrics)
    split = "test" if name in model.metrics.get("test", {}) else "validation"
    shown = "Recall@20" if model.kind == "recommendation" else _NAMES[name][0]
    return {"name": shown, "value": model.metrics.get(split, {}).get(name), "split": split}


def main_figure(metrics: dict[str, Any]) -> str:
    """The main metric of a classifier: of several labels the F1 of all of them, else accuracy."""
    return "micro_f1" if any("micro_f1" in values for values in metrics.values()) else "accuracy"


def context(model: ModelVersion) -> dict[str, Any]:
    """Everything the model page shows of the report."""
    report = read_report(model.report)
    split = next((name for name in ("test", "validation", "train") if name in report.splits), "test")
    # Reports from before there was a schema hold no metrics: the model's own are the same.
    validation = model.metrics.get("validation", {})
    found: dict[str, Any] = {
        "headline": headline(model),
        "parameters": [(name, value) for name, value in sorted(model.parameters.items()) if value is not None],
        "report": report,
        "report_split": split,
        "is_ranking": isinstance(report, RecommendationReport),
    }
    values = {**model.metrics.get(split, {})}
    if isinstance(report, RecommendationReport):
        return found | _ranking(report, split, values, validation)
    return found | _classification(report, split, values, validation)


def _classification(
    report: ClassificationReport, split: str, values: dict[str, Any], validation: dict[str, Any]
) -> dict[str, Any]:
    part = report.splits.get(split) or ClassificationSplit(labels=report.labels)
    beside = _beside(report, split)
    names = _NAMES | (_WHOLE_SETS if report.multi_label else {})
    figures = [
        Figure(
            key=key,
            name=name,
            explained=explained,
            value=values.get(key),
            interval=part.intervals.get(key),
            validation=validation.get(key) if split != "validation" else None,
            beside=[values.get(key) for _name, values in beside],
            undefined=part.undefined.get(key),
        )
        for key, (name, explained) in names.items()
        if key in values or key in validation or key in part.undefined
    ]
    lead = "micro_f1" if report.multi_label else "accuracy"
    others = ("accuracy", "macro_f1") if report.multi_label else ("macro_f1", "roc_auc")
    matrix = part.confusion if part.confusion and len(part.labels) <= _MATRIX_CLASSES else None
    return {
        "part": part,
        "figures": figures,
        "lead": next((figure for figure in figures if figure.key == lead), None),
        "others": [figure for figure in figures if figure.key in (*others, "calibration_error")],
        "beside_names": [name for name, _values in beside],
        "per_class": part.per_class,
        "has_thresholds": report.multi_label,
        "has_areas": any(row.roc_auc is not None for row in part.per_class),
        "mistakes": [(mistake, _searchable(mistake.input)) for mistake in part.mistakes[:_SHOWN_MISTAKES]],
        "confusion": charts.confusion(part.labels, matrix) if matrix else None,
        "confusions": part.confusions[:_SHOWN_CONFUSIONS],
        "reliability": charts.reliability(part.calibration) if part.calibration else None,
        "sureness": charts.sureness(part.calibration) if part.calibration else None,
        "slices": _by_group(part.slices),
        "suspected": report.suspected_labels,
    }


def _beside(report: ClassificationReport, split: str) -> list[tuple[str, Metrics]]:
    """What the model is compared with on a split: always one label, and other methods."""
    found = []
    for other in [report.baseline, *report.compared]:
        if other and (values := getattr(other, split)):
            found.append((_("Always “%(label)s”") % {"label": other.label} if other.label else other.name, values))
    return found


def _ranking(
    report: RecommendationReport, split: str, values: dict[str, Any], validation: dict[str, Any]
) -> dict[str, Any]:
    part = report.splits.get(split)
    baselines: dict[str, dict[str, float]] = part.baselines if part else {}
    # Reports from before there was a schema hold their baseline in the metrics alone.
    baselines = baselines or {name: values[name] for name in _BASELINES if isinstance(values.get(name), dict)}
    # A database keeps no order of keys.
    baselines = dict(sorted(baselines.items(), key=lambda pair: _place(pair[0])))
    rows = [
        Figure(
            key=f"{key}@{k}",
            name=f"{name}@{k}",
            explained=explained,
            value=values[f"{key}@{k}"],
            interval=part.intervals.get(f"{key}@{k}") if part else None,
            validation=validation.get(f"{key}@{k}") if split != "validation" else None,
            beside=[one.get(f"{key}@{k}") for one in baselines.values()],
        )
        for k in _CUTOFFS
        for key, (name, explained) in _RANKED.items()
        if f"{key}@{k}" in values
    ]
    lists = [
        Figure(name, shown, explained, values[name], None, None, [one.get(name) for one in baselines.values()])
        for key, (shown, explained) in _LISTS.items()
        for name in sorted(values)
        if name.partition("@")[0] == key
    ]
    lead = next((row for row in rows if row.key == "recall@20"), None)
    return {
        "part": part,
        "figures": rows,
        "lists": lists,
        "lead": lead,
        "others": [row for row in rows if row.key in ("ndcg@20", "mrr@20")] + lists[:1],
        "beside_names": [_BASELINES.get(name, name) for name in baselines],
        "gains": _gains(part) if part else [],
        "user_groups": _user_groups(part) if part else [],
        "scale": _scale(lead, part),
        "most_recommended": report.most_recommended[:10],
        "examples": report.examples[:5],
    }


def _place(baseline: str) -> int:
    names = list(_BASELINES)
    return names.index(baseline) if baseline in names else len(names)


def _gains(part: RankingSplit) -> list[dict[str, Any]]:
    """How much better than each baseline the model surely is, by recall@20."""
    return [
        {"name": _BASELINES.get(name, name), "interval": gain["recall@20"], "surely": gain["recall@20"].low > 0}
        for name, gain in sorted(part.gains.items(), key=lambda pair: _place(pair[0]))
        if "recall@20" in gain
    ]


def _user_groups(part: RankingSplit) -> list[tuple[str, str, list[UserGroup]]]:
    """Title, explanation and groups of users."""
    titled = [
        (_("By length of history"), _("How well users with short and long histories are served."), part.by_history),
        (
            _("Newcomers"),
            _("The same users, judged as if only this many of their items were known."),
            part.new_users,
        ),
    ]
    return [(title, text, groups) for title, text, groups in titled if groups]


def _scale(lead: Figure | None, part: RankingSplit | None) -> float:
    """The end of the scale on which recall is drawn: the largest value there is, and some room."""
    values = [lead.interval.high if lead and lead.interval else (lead.value or 0 if lead else 0)]
    if part:
        values += [
            group.intervals["recall@20"].high
            for group in (*part.by_history, *part.new_users)
            if "recall@20" in group.intervals
        ]
    return min(1.0, 1.1 * max(values)) or 1.0


def _by_group(slices: Sequence[Slice]) -> list[tuple[str, list[Slice]]]:
    groups: dict[str, list[Slice]] = {}
    for part in slices:
        groups.setdefault(part.group, []).append(part)
    return list(groups.items())


def _searchable(text: str) -> str:
    """The beginning of a text, whole words, by which the rows of the dataset can be searched."""
    first = next(iter(text.splitlines()), "")
    return first if len(first) <= _SEARCHED_CHARACTERS else first[:_SEARCHED_CHARACTERS].rsplit(" ", 1)[0]
