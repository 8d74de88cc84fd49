"""What every trained classifier shares: metrics, report, parity certificate, export of the scores' graph."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support
from torch import nn

from workers.contracts.errors import JobError
from workers.contracts.manifest import Certificate
from workers.engine.loop import Examples, predict_scores
from workers.engine.run import Run, Trained
from workers.inference.runtime import LabelPredictor, Predictor

# Two float32 programs that sum in another order differ by about 1e-6; a hundred times that is still no other answer.
TOLERANCE: Final = 1e-4
OPSET: Final = 18
_PARITY_BATCH: Final = 64
_MISTAKES: Final = 50
_SHOWN_CHARS: Final = 400


class TrainedClassifier(Trained):
    """A network with its examples. Scores are those of the trained network, in full precision."""

    def __init__(self, run: Run, network: nn.Module, labels: Sequence[str], splits: dict[str, Examples]) -> None:
        self.labels = list(labels)
        self.run, self.network, self.splits = run, network, splits
        self._scores: dict[str, np.ndarray] = {}

    @abstractmethod
    def raw(self, split: str) -> Iterator[tuple[int, Any]]:
        """(row number, raw input) of each example of a split, in the order of its Examples."""

    @abstractmethod
    def shown(self, raw: Any) -> str:
        """A raw input as the report shows it."""

    def scores(self, split: str) -> np.ndarray:
        """float32 [examples, labels] of a split."""
        if split not in self._scores:
            self._scores[split] = predict_scores(self.network, self.splits[split], self.run.device)
        return self._scores[split]

    def evaluate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metrics by split; the report: per-class table, confusion matrix, mistakes, and what guessing would get."""
        metrics: dict[str, Any] = {}
        splits: dict[str, Any] = {}
        for split in ("validation", "test"):
            if split not in self.splits:
                continue
            truth = self.splits[split].labels.numpy()
            metrics[split], per_class = measure(truth, self.scores(split), self.labels)
            matrix = confusion_matrix(truth, self.scores(split).argmax(axis=1), labels=range(len(self.labels)))
            splits[split] = {"per_class": per_class, "confusion": matrix.tolist(), "mistakes": self._mistakes(split)}
        counts = torch.bincount(self.splits["train"].labels, minlength=len(self.labels)).numpy()
        common = int(counts.argmax())
        guessed = {s: float((self.splits[s].labels.numpy() == common).mean()) for s in metrics}
        baseline = {"name": "most frequent class", "label": self.labels[common], "accuracy": guessed}
        return metrics, {"labels": self.labels, "splits": splits, "baseline": baseline}

    def _mistakes(self, split: str) -> list[dict[str, Any]]:
        """The wrong answers that the model was surest of: often it is the label that is wrong."""
        scores, truth = self.scores(split), self.splits[split].labels.numpy()
        guess = scores.argmax(axis=1)
        wrong = np.flatnonzero(guess != truth)
        worst = wrong[np.argsort(-scores[wrong, guess[wrong]], kind="stable")][:_MISTAKES]
        place = {int(index): order for order, index in enumerate(worst)}
        found: list[dict[str, Any]] = [{} for _ in worst]
        for index, (row, raw) in enumerate(self.raw(split)):
            if index in place:
                found[place[index]] = {
                    "row": row,
                    "input": self.shown(raw)[:_SHOWN_CHARS],
                    "label": self.labels[truth[index]],
                    "predicted": self.labels[guess[index]],
                    "score": round(float(scores[index, guess[index]]), 6),
                }
        return found

    def certify(self, predictor: Predictor) -> Certificate:
        """Every raw input of the test split (validation where there is none) through the served path."""
        if not isinstance(predictor, LabelPredictor):
            raise TypeError("the bundle is not one of a classifier")
        split = "test" if "test" in self.splits else "validation"
        expected = self.scores(split)
        flips, largest, seen = 0, 0.0, 0
        for batch in _in_batches(self.raw(split), _PARITY_BATCH):
            items = [predictor.prepare(raw, index) for index, (_row, raw) in enumerate(batch)]
            served = predictor.scores(items)
            trained = expected[seen : seen + len(batch)]
            flips += int((served.argmax(axis=1) != trained.argmax(axis=1)).sum())
            largest = max(largest, float(np.abs(served - trained).max()))
            seen += len(batch)
        return Certificate(
            examples=seen,
            label_flips=flips,
            max_abs_difference=largest,
            tolerance=TOLERANCE,
            passed=seen == len(expected) and flips == 0 and largest <= TOLERANCE,
            split=split,
        )

    def write_onnx(self, graph: nn.Module, example: torch.Tensor, name: str, path: Path, free: dict[int, str]) -> None:
        """Write `graph` (input `name` → output `scores`) with the axes `free` of the input left open."""
        graph = graph.cpu().eval()
        dynamic = dict.fromkeys(free, torch.export.Dim.DYNAMIC)
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=[name],
            output_names=["scores"],
            dynamic_shapes=(dynamic,),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
        if program is None:
            raise JobError("job_crashed", evidence="The exporter gave nothing.")
        program.save(str(path), external_data=False)
        self.network.to(self.run.device)


class WithSoftmax(nn.Module):
    """A network that gives probabilities, as its bundle does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(inputs)
        return scores.softmax(dim=1)


def label_indices(names: Sequence[str], labels: Sequence[str], split: str) -> torch.Tensor:
    """int64 [rows]: the place of each name in `labels`. Raises JobError where a class was never trained on."""
    places = {label: index for index, label in enumerate(labels)}
    unknown = sorted({name for name in names if name not in places})
    if unknown:
        some = ", ".join(repr(name[:60]) for name in unknown[:5])
        raise JobError("too_few_rows", evidence=f"Classes of the {split} rows have no example to train on: {some}.")
    return torch.tensor([places[name] for name in names], dtype=torch.int64)


def measure(truth: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> tuple[dict[str, float], list[Any]]:
    """The contract's metrics, and precision, recall, f1 and support per class (0 where a class was never predicted)."""
    every = range(len(labels))
    guess = scores.argmax(axis=1)
    table = precision_recall_fscore_support(truth, guess, labels=every, zero_division=0.0)
    precision, recall, f1, support = (np.asarray(part) for part in table)
    probabilities = np.clip(scores.astype(np.float64), 1e-12, None)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    # The mean over the classes that occur: a class without examples in a split has nothing to say about it.
    here = support > 0
    metrics = {
        "accuracy": float((guess == truth).mean()),
        "macro_f1": float(f1[here].mean()),
        "macro_precision": float(precision[here].mean()),
        "macro_recall": float(recall[here].mean()),
        "log_loss": float(log_loss(truth, probabilities, labels=every)),
    }
    rows = zip(labels, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    per_class = [dict(zip(("label", "precision", "recall", "f1", "support"), row, strict=True)) for row in rows]
    return {name: round(value, 6) for name, value in metrics.items()}, per_class


def _in_batches(rows: Iterator[tuple[int, Any]], size: int) -> Iterator[list[tuple[int, Any]]]:
    batch: list[tuple[int, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
