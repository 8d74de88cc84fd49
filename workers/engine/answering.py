"""How a classifier's probabilities become answers: the likeliest label, or each label by itself; how good the answers
to a split are, and whether a served answer is the same.

probabilities: float [rows, labels]; answers: bool [rows, labels]; `labels` are those that the model knows.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Final

import numpy as np

from workers.contracts.report import ClassificationSplit, Metrics, Mistake
from workers.engine.evaluation import Rows, evaluate_rows, majority_metrics, mistake, worst_mistakes
from workers.engine.labels import label_indices, label_names, label_sets, true_labels
from workers.engine.metrics import calibration_error, calibration_error_of
from workers.engine.run import Run
from workers.engine.several_labels import (
    DECIMALS,
    SetRows,
    baseline_metrics,
    decided,
    evaluate_sets,
    indicator,
    worst_sets,
    wrong_set,
)

# Two float32 implementations of the same network differ by about 1e-6 in a probability. 1e-4 leaves room for other
# orders of summation on other machines, and is still far below what could change a decision unseen.
TOLERANCE: Final = 1e-4


@dataclass(frozen=True)
class Judged:
    """The answers to a split: its part of the report, the metrics of the baseline, which rows are right, and the places
    of those that are most wrong, each to be told by `tell(place, number of the row, how a person knows it)`."""

    report: ClassificationSplit
    baseline: Metrics
    right: np.ndarray
    wrong: np.ndarray
    tell: Callable[[int, int, str], Mistake]


class Answering(ABC):
    """One way to answer."""

    # The baseline: what always answers the same.
    baseline_name: ClassVar[str]
    # From which probability on each label is answered; None where the likeliest is.
    thresholds: np.ndarray | None = None

    def __init__(self, run: Run, labels: list[str]) -> None:
        self.run, self.labels = run, labels

    @abstractmethod
    def decide(self, scores: np.ndarray) -> np.ndarray:
        """The answers."""

    @abstractmethod
    def truth(self, split: str) -> np.ndarray:
        """The right answers to a split, bool [rows, labels]."""

    @property
    @abstractmethod
    def usual(self) -> list[str]:
        """What the baseline always answers."""

    @abstractmethod
    def judge(self, split: str, scores: np.ndarray, untempered: np.ndarray) -> Judged:
        """How good the answers to a split are. `untempered`: the probabilities before temperature scaling."""

    @abstractmethod
    def is_same(self, answer: dict[str, Any], served: np.ndarray, ours: np.ndarray) -> bool:
        """Whether a served answer is PyTorch's, whose probabilities are `ours`, both float [labels]. Of two scores that
        are equal to the last digits either may come first, or lie on either side of a threshold."""

    @abstractmethod
    def count_flips(self, answers: list[dict[str, Any]], ours: np.ndarray) -> int:
        """How many served answers are not PyTorch's, whose probabilities are `ours`, float [rows, labels]."""

    def _warn_of_unseen(self, split: str, names: list[str], so: str) -> None:
        if unseen := names[len(self.labels) :]:
            some = ", ".join(unseen[:5])
            self.run.log(f"The {split} rows have labels that no training row has, {so}: {some}", "warning")


class OneLabel(Answering):
    """Each row has one label: the likeliest is the answer."""

    baseline_name = "majority class"

    @cached_property
    def _training(self) -> Counter[str]:
        return Counter(label_names(self.run, "train"))

    def decide(self, scores: np.ndarray) -> np.ndarray:
        answers: np.ndarray = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
        return answers

    def truth(self, split: str) -> np.ndarray:
        known: np.ndarray = label_indices(self.run, split, self.labels)[:, None] == np.arange(len(self.labels))
        return known

    @property
    def usual(self) -> list[str]:
        return [max(sorted(self._training), key=lambda label: self._training[label])]

    def judge(self, split: str, scores: np.ndarray, untempered: np.ndarray) -> Judged:
        truth, names = true_labels(self.run, split, self.labels)
        self._warn_of_unseen(split, names, "always wrong")
        training = np.array([self._training[name] for name in names])
        rows = Rows(truth, _padded(scores, names), names, training)
        report = evaluate_rows(rows, self.run.seed)
        if report.calibration and untempered is not scores:
            report.calibration.error_before = calibration_error(truth, _padded(untempered, names))
        always = majority_metrics(rows, names.index(self.usual[0]))
        right = rows.scores.argmax(axis=1) == truth
        return Judged(report, always, right, worst_mistakes(rows), partial(mistake, rows))

    def is_same(self, answer: dict[str, Any], served: np.ndarray, ours: np.ndarray) -> bool:
        return bool(answer["label"] == self.labels[int(ours.argmax())] or ours.max() - served.max() <= TOLERANCE)

    def count_flips(self, answers: list[dict[str, Any]], ours: np.ndarray) -> int:
        tops = ours.argmax(axis=1).tolist()
        return sum(answer["label"] != self.labels[top] for answer, top in zip(answers, tops, strict=True))


class SeveralLabels(Answering):
    """Each row has several labels, or none: each is answered from a probability of its own on."""

    baseline_name = "most frequent labels"
    thresholds: np.ndarray

    def __init__(self, run: Run, labels: list[str], thresholds: np.ndarray) -> None:
        super().__init__(run, labels)
        self.thresholds = thresholds

    @cached_property
    def _training(self) -> list[list[str]]:
        return label_sets(self.run, "train")

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(label for labels in self._training for label in labels)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        return decided(scores, self.thresholds)

    def truth(self, split: str) -> np.ndarray:
        known: np.ndarray = label_indices(self.run, split, self.labels) > 0
        return known

    @property
    def usual(self) -> list[str]:
        """The labels that most training rows have, or the most frequent one."""
        most = [label for label in self.labels if 2 * self._counts[label] > len(self._training)]
        return most or [max(self.labels, key=lambda label: self._counts[label])]

    def judge(self, split: str, scores: np.ndarray, untempered: np.ndarray) -> Judged:
        sets = label_sets(self.run, split)
        names = self.labels + sorted({label for labels in sets for label in labels} - set(self.labels))
        self._warn_of_unseen(split, names, "never found")
        rows = SetRows(
            truth=indicator(sets, names),
            scores=_padded(scores, names),
            labels=names,
            thresholds=np.pad(self.thresholds, (0, len(names) - len(self.labels)), constant_values=1.0),
            training_rows=np.array([self._counts[name] for name in names]),
        )
        report = evaluate_sets(rows, self.run.seed)
        if report.calibration and untempered is not scores:
            before = calibration_error_of(_padded(untempered, names).ravel(), rows.truth.ravel() > 0)
            report.calibration.error_before = before
        always = baseline_metrics(rows.truth, np.isin(names, self.usual))
        right = (rows.answers == (rows.truth > 0)).all(axis=1)
        return Judged(report, always, right, worst_sets(rows), partial(wrong_set, rows))

    def is_same(self, answer: dict[str, Any], served: np.ndarray, ours: np.ndarray) -> bool:
        differing = set(answer["labels"]) ^ {self.labels[k] for k in np.flatnonzero(self.decide(ours[None])[0])}
        close = np.abs(ours - self.thresholds) <= TOLERANCE
        return all(close[self.labels.index(label)] for label in differing)

    def count_flips(self, answers: list[dict[str, Any]], ours: np.ndarray) -> int:
        """A row counts once, however many of its labels differ, but not for scores that are equal to a threshold as
        shown."""
        served = indicator([answer["labels"] for answer in answers], self.labels) > 0
        close = np.abs(ours - self.thresholds) <= 2 * 10.0**-DECIMALS
        return int(((served != self.decide(ours)) & ~close).any(axis=1).sum())


def _padded(scores: np.ndarray, names: list[str]) -> np.ndarray:
    """With a score of 0 for the labels that the model does not know."""
    return np.pad(scores, ((0, 0), (0, len(names) - scores.shape[1])))
