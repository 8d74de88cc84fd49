"""What all classifiers share: metrics by the public contract's names, report, parity of the served path."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.contracts.errors import JobError
from workers.contracts.manifest import Certificate
from workers.engine.export import export_onnx
from workers.engine.loop import Examples, predict
from workers.engine.run import Run, Trained
from workers.inference.core import Predictor

# Two float32 implementations of the same network differ by about 1e-6 in a probability. 1e-4 leaves room for other
# orders of summation on other machines, and is still far below what could change a decision unseen.
TOLERANCE = 1e-4
_MAX_MISTAKES = 50
_MAX_CONFUSION_LABELS = 200
_CERTIFY_BATCH = 64


class TrainedClassifier(Trained):
    """A trained classifier: the model in eval mode and its evaluation rows. Subclasses know the raw inputs."""

    def __init__(self, run: Run, model: nn.Module, labels: list[str], evaluation: dict[str, Examples]) -> None:
        self.run = run
        self.model = model
        self.labels = labels
        self.evaluation = {name: examples for name, examples in evaluation.items() if len(examples)}
        self._scores = {name: predict(model, examples, run.device) for name, examples in self.evaluation.items()}

    @abstractmethod
    def raw_inputs(self, split: str) -> Iterator[Any]:
        """The raw inputs of a split, as a client would send them, in the order of its rows."""

    @abstractmethod
    def shown(self, split: str, rows: np.ndarray) -> list[str]:
        """How a person recognises rows: their texts, or the names of their files."""

    @abstractmethod
    def example_input(self) -> torch.Tensor:
        """An input of the model with a batch of two, to trace it with."""

    def dynamic_axes(self) -> dict[int, str]:
        """The axes of the input that vary, by name."""
        return {0: "batch"}

    def true_labels(self, split: str) -> tuple[np.ndarray, list[str]]:
        """Label indices of a split, and the names: the model's labels, then those that no training row has."""
        names = self.run.split(split, ["label"])["label"].to_pylist()
        known = set(self.labels)
        every = self.labels + sorted(set(names) - known)
        index = {name: position for position, name in enumerate(every)}
        return np.array([index[name] for name in names], dtype=np.int64), every

    def evaluate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metrics and report of the validation and test rows, with the majority class as the baseline."""
        counts = np.unique(self.run.split("train", ["label"])["label"].to_pylist(), return_counts=True)
        majority = str(counts[0][counts[1].argmax()])
        metrics: dict[str, Any] = {}
        splits: dict[str, Any] = {}
        baseline: dict[str, Any] = {"name": "majority class", "label": majority}
        for split, scores in self._scores.items():
            truth, names = self.true_labels(split)
            if len(names) > len(self.labels):
                unseen = ", ".join(names[len(self.labels) :][:5])
                self.run.log(
                    f"The {split} rows have labels that no training row has, always wrong: {unseen}", "warning"
                )
            padded = np.pad(scores, ((0, 0), (0, len(names) - len(self.labels))))
            metrics[split] = classification_metrics(truth, padded)
            always = np.zeros_like(padded)
            always[:, names.index(majority)] = 1.0
            baseline[split] = {
                name: value for name, value in classification_metrics(truth, always).items() if name != "log_loss"
            }
            splits[split] = self._split_report(split, truth, padded, names)
        return metrics, {"labels": self.labels, "splits": splits, "baseline": baseline}

    def _split_report(self, split: str, truth: np.ndarray, scores: np.ndarray, names: list[str]) -> dict[str, Any]:
        matrix = confusion_matrix(truth, scores.argmax(axis=1), len(names))
        table = per_class(matrix)
        rows = [
            {"label": name, **{key: _number(values[index]) for key, values in table.items()}}
            for index, name in enumerate(names)
        ]
        return {
            "per_class": rows,
            "labels": names,
            "confusion": matrix.tolist() if len(names) <= _MAX_CONFUSION_LABELS else [],
            "mistakes": self._mistakes(split, truth, scores, names),
        }

    def _mistakes(self, split: str, truth: np.ndarray, scores: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
        """The wrong answers that the model was surest of."""
        answered = scores.argmax(axis=1)
        sure = scores.max(axis=1)
        wrong = np.flatnonzero(answered != truth)
        wrong = wrong[np.argsort(-sure[wrong], kind="stable")][:_MAX_MISTAKES]
        rows = self.run.split(split, ["row"])["row"].to_pylist()
        shown = self.shown(split, wrong)
        return [
            {
                "row": rows[index],
                "input": text,
                "label": names[truth[index]],
                "predicted": names[answered[index]],
                "score": round(float(sure[index]), 6),
            }
            for index, text in zip(wrong.tolist(), shown, strict=True)
        ]

    def export(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx and what `export_side_files` adds."""
        name = "token_ids" if self.run.train.dataset.kind == "text" else "images"
        export_onnx(self.model, self.example_input(), name, self.dynamic_axes(), folder / "model.onnx")
        return self.export_side_files(folder)

    @abstractmethod
    def export_side_files(self, folder: Path) -> dict[str, Any]:
        """Write the files beside model.onnx; return manifest.preprocessing."""

    def certified_split(self) -> str:
        """The split that the certificate is about."""
        for split in ("test", "validation"):
            if split in self._scores:
                return split
        return "train"

    def certify(self, predictor: Predictor) -> Certificate:
        """Raw inputs through the served path, in batches, against PyTorch's probabilities; flips counted strictly."""
        split = self.certified_split()
        expected = self._scores[split]
        flips, difference, start = 0, 0.0, 0
        for batch in _batched(self.raw_inputs(split), _CERTIFY_BATCH):
            answers = predictor.predict([predictor.prepare(raw, index) for index, raw in enumerate(batch)])
            served = np.array([[answer["scores"][label] for label in self.labels] for answer in answers])
            ours = expected[start : start + len(batch)]
            flips += sum(
                answer["label"] != self.labels[top]
                for answer, top in zip(answers, ours.argmax(axis=1).tolist(), strict=True)
            )
            difference = max(difference, float(np.abs(served - ours).max()))
            start += len(batch)
        if start != len(expected):
            raise RuntimeError(f"{start} inputs were certified, {len(expected)} were evaluated")
        return Certificate(
            examples=start,
            label_flips=flips,
            max_abs_difference=difference,
            tolerance=TOLERANCE,
            passed=flips == 0 and difference <= TOLERANCE,
            split=split,
        )


def label_indices(run: Run, split: str, labels: list[str]) -> np.ndarray:
    """int64 [rows]: the labels of a split as indices; -1 for those that no training row has."""
    index = {name: position for position, name in enumerate(labels)}
    names = run.split(split, ["label"])["label"].to_pylist()
    return np.array([index.get(name, -1) for name in names], dtype=np.int64)


def training_labels(run: Run) -> list[str]:
    """The labels of the training rows, sorted. Raises JobError where there are fewer than two."""
    labels = sorted(set(run.split("train", ["label"])["label"].to_pylist()))
    if not labels:
        raise JobError("too_few_rows", evidence="There is no training row.")
    if len(labels) < 2:
        raise JobError("one_class_only", evidence=f"Every training row has the label “{labels[0][:80]}”.")
    return labels


def classification_metrics(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """accuracy, macro_f1, macro_precision, macro_recall, log_loss. `truth` int [rows], `scores` float [rows, labels].

    Macro means go over the labels that occur in truth or answers, as scikit-learn's do.
    """
    answered = scores.argmax(axis=1)
    matrix = confusion_matrix(truth, answered, scores.shape[1])
    seen = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    table = per_class(matrix)
    right = np.clip(scores[np.arange(len(truth)), truth].astype(np.float64), 1e-15, 1.0)
    return {
        "accuracy": float((answered == truth).mean()),
        "macro_f1": float(table["f1"][seen].mean()),
        "macro_precision": float(table["precision"][seen].mean()),
        "macro_recall": float(table["recall"][seen].mean()),
        "log_loss": float(-np.log(right).mean()),
    }


def confusion_matrix(truth: np.ndarray, answered: np.ndarray, labels: int) -> np.ndarray:
    """int64 [labels, labels]: rows are true labels, columns answers."""
    return np.bincount(truth * labels + answered, minlength=labels * labels).reshape(labels, labels)


def per_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """precision, recall, f1, support of each label; 0 where undefined."""
    hits = np.diag(matrix).astype(np.float64)
    support, answers = matrix.sum(axis=1), matrix.sum(axis=0)
    precision = hits / np.maximum(answers, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + answers, 1)
    return {"precision": precision, "recall": recall, "f1": f1, "support": support}


def _number(value: Any) -> float | int:
    return int(value) if isinstance(value, np.integer) else round(float(value), 6)


def _batched(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
