"""README.md of a bundle: what the model does, what it learned from, how good it is, how to use it."""

import json
import re
from collections.abc import Sequence
from typing import Any

from workers.contracts.manifest import Certificate, Provenance
from workers.contracts.report import ClassificationReport, Interval, RecommendationReport
from workers.task_templates.base import TaskTemplate

_MAX_CLASSES = 50


def model_card(
    template: TaskTemplate,
    core: dict[str, Any],
    metrics: dict[str, Any],
    report: ClassificationReport | RecommendationReport,
    certificate: Certificate,
    provenance: Provenance,
    dataset_name: str,
    notes: Sequence[str] = (),
) -> str:
    """Markdown. Names that users gave are escaped. `notes` say how the metrics were measured."""
    example = next(iter(core["input_schema"].get("examples", [])), None)
    command = template.command + (' --text-pair "another text"' if core["preprocessing"].get("pairs") else "")
    parts = [
        f"# {escape(core['name'])}",
        f"{template.title}. {template.summary}",
        "## Use",
        f"With Python 3.10 or newer and `pip install {template.libraries}`, in this folder:",
        f"```\n{command.replace('EXAMPLE', json.dumps(example))}\n```",
        "It prints what the hosted endpoint answers. `reference.json` holds inputs with the expected answers.",
        "## Data",
        f"Dataset “{escape(dataset_name)}”, version {provenance.dataset_number} "
        f"(content {provenance.dataset_hash[:16]}), trained {provenance.trained_at} on {escape(provenance.device)}.",
        "## Measured",
        _metrics_table(
            {split: values for split, values in metrics.items() if split in report.splits},
            {name: split.intervals for name, split in report.splits.items()},
        ),
        *_cross_validation(report),
        "In brackets: 95 % bootstrap intervals. `report.json` holds the whole evaluation.",
        *_baseline(report, metrics, template.metric_for(getattr(report, "multi_label", False))),
        *_calibration(report),
        *_several(report),
        *_classes(report),
        *_suspected(report),
        *notes,
        "## Parity certificate",
        f"{certificate.compared} examples went through `predict.py` and the trained PyTorch "
        f"model: {certificate.label_flips} answers differ, scores by at most {certificate.max_abs_difference:.2g} "
        f"(allowed: {certificate.tolerance:g}).",
        "## Limits",
        template.limits.format_map(core["preprocessing"]),
        "## Provenance",
        f"Job {provenance.job}, attempt {provenance.attempt}; template {provenance.template}, "
        f"preset {provenance.preset}, seed {provenance.seed}; code {provenance.code_version}, "
        f"PyTorch {provenance.torch_version}.",
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Plain text as Markdown that shows exactly it, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|&~])", r"\\\1", " ".join(text.split()))


def _flat(values: dict[str, Any]) -> dict[str, float]:
    """Numbers by name; those of a nested baseline with its name before them."""
    flat: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name} {inner}": number for inner, number in _flat(value).items()}
        elif isinstance(value, int | float):
            flat[name] = float(value)
    return flat


def _metrics_table(metrics: dict[str, Any], intervals: dict[str, dict[str, Interval]]) -> str:
    splits = {name: _flat(values) for name, values in metrics.items()}
    names = list(dict.fromkeys(name for values in splits.values() for name in values))
    lines = ["| metric | " + " | ".join(splits) + " |", "| --- |" + " ---: |" * len(splits)]
    for name in names:
        cells = [_cell(values.get(name), intervals.get(split, {}).get(name)) for split, values in splits.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f} ({interval.low:.3f}–{interval.high:.3f})" if interval else f"{value:.4f}"


def _cross_validation(report: ClassificationReport | RecommendationReport) -> list[str]:
    if not isinstance(report, ClassificationReport) or report.cross_validation is None:
        return []
    found = report.cross_validation
    lines = [f"| over {found.folds} folds | mean | standard deviation |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {mean:.4f} | {found.std[name]:.4f} |" for name, mean in found.mean.items()]
    return ["\n".join(lines)]


def _baseline(report: ClassificationReport | RecommendationReport, metrics: dict[str, Any], metric: str) -> list[str]:
    if not isinstance(report, ClassificationReport) or report.baseline is None:
        return []
    split = "test" if report.baseline.test else "validation"
    values: dict[str, float] = getattr(report.baseline, split) or {}
    if split not in metrics or metric not in values:
        return []
    return [f"For comparison, {report.baseline.name} alone: {metric} {values[metric]:.4f} on the {split} rows."]


def _calibration(report: ClassificationReport | RecommendationReport) -> list[str]:
    if not isinstance(report, ClassificationReport) or report.temperature is None:
        return []
    temperature = report.temperature
    if temperature.reason:
        return [f"The scores are the network's own (no temperature was fitted: {temperature.reason})"]
    return [
        f"Scores are divided, before they become probabilities, by {temperature.value:g}, fitted on "
        f"{temperature.rows:,} validation rows: their log loss went from {temperature.log_loss_before:.4f} to "
        f"{temperature.log_loss:.4f}."
    ]


def _suspected(report: ClassificationReport | RecommendationReport) -> list[str]:
    if not isinstance(report, ClassificationReport) or report.suspected_labels is None:
        return []
    found = report.suspected_labels
    what = "rows whose labels" if report.multi_label else "labels that"
    said = (
        f"Of {found.rows:,} {what} were checked (of {found.of_rows:,}), {found.suspected:,} look wrong: confident "
        f"learning, on answers of models that had not learned from the row ({escape(found.method)})."
    )
    if found.labels:
        lines = ["| label | seems missing | seems wrong |", "| --- | ---: | ---: |"]
        lines += [f"| {escape(one.label)} | {one.missing} | {one.wrong} |" for one in found.labels]
        return [said, "\n".join(lines)]
    if not found.pairs:
        return [said]
    lines = ["| given label | looks like | rows |", "| --- | --- | ---: |"]
    lines += [f"| {escape(pair.label)} | {escape(pair.predicted)} | {pair.rows} |" for pair in found.pairs]
    return [said, "\n".join(lines)]


def _several(report: ClassificationReport | RecommendationReport) -> list[str]:
    if not isinstance(report, ClassificationReport) or not report.multi_label:
        return []
    return [
        "It answers with all labels whose probability reaches their threshold (`thresholds` in `manifest.json`, chosen "
        "on the validation rows), perhaps with none. Accuracy is the share of examples whose labels are all right."
    ]


def _classes(report: ClassificationReport | RecommendationReport) -> list[str]:
    if not isinstance(report, ClassificationReport) or not report.splits:
        return []
    split = "test" if "test" in report.splits else "validation" if "validation" in report.splits else "train"
    rows = report.splits[split].per_class
    lines = [f"| class ({split}) | precision | recall | f1 | examples |", "| --- | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {escape(row.label)} | {row.precision:.3f} | {row.recall:.3f} | {row.f1:.3f} | {row.support} |"
        for row in rows[:_MAX_CLASSES]
    ]
    if len(rows) > _MAX_CLASSES:
        lines.append(f"| … and {len(rows) - _MAX_CLASSES} more | | | | |")
    return ["\n".join(lines)]
