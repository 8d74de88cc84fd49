"""The labels of a split's rows, as they stand in the data: one each, or several."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from workers.contracts.errors import JobError
from workers.engine.run import Run
from workers.engine.several_labels import indicator

_Answer = TypeVar("_Answer")


def label_names(run: Run, split: str) -> list[str]:
    """The label of each row of a split, where rows have one."""
    found: list[str] = run.split(split, ["label"])["label"].to_pylist()
    return found


def label_sets(run: Run, split: str) -> list[list[str]]:
    """The labels of each row of a split, where rows have several."""
    found: list[list[str]] = run.split(split, ["labels"])["labels"].to_pylist()
    return found


def label_indices(run: Run, split: str, labels: list[str]) -> np.ndarray:
    """int64 [rows]: the labels of a split as indices; -1 for those that no training row has. Where rows have several
    labels uint8 [rows, labels]."""
    if run.multi_label:
        return indicator(label_sets(run, split), labels)
    index = {name: position for position, name in enumerate(labels)}
    return np.array([index.get(name, -1) for name in label_names(run, split)], dtype=np.int64)


def true_labels(run: Run, split: str, labels: list[str]) -> tuple[np.ndarray, list[str]]:
    """The labels of a split as indices, int64 [rows], and all names: `labels`, then those that no training row has."""
    names = label_names(run, split)
    every = labels + sorted(set(names) - set(labels))
    index = {name: position for position, name in enumerate(every)}
    return np.array([index[name] for name in names], dtype=np.int64), every


def training_labels(run: Run) -> list[str]:
    """The labels of the training rows, sorted. Raises JobError where there is nothing to tell apart."""
    if run.multi_label:
        sets = {tuple(labels) for labels in label_sets(run, "train")}
        _require_two(sets, lambda labels: f"labels {', '.join(labels)[:80]}")
        return sorted({label for labels in sets for label in labels})
    labels = set(label_names(run, "train"))
    _require_two(labels, lambda label: f"label “{label[:80]}”")
    return sorted(labels)


def _require_two(answers: set[_Answer], shown: Callable[[_Answer], str]) -> None:
    if not answers:
        raise JobError("too_few_rows", evidence="There is no training row.")
    if len(answers) < 2:
        raise JobError("one_class_only", evidence=f"Every training row has the {shown(next(iter(answers)))}.")
