"""Answers as columns: what stands beside the rows, by kind of predictor."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from workers.inference.core import LabelPredictor, Predictor, shown

ERROR: Final = "error"


class Answered(NamedTuple):
    """The columns beside some rows, `error` last; and how often each label was answered."""

    frame: pl.DataFrame
    labels: Counter[str]


class Answers(ABC):
    """The columns that are added: their names in the file, `error` last, and their types.

    Answers of rows are kept in an array, each in its row's place, until they become columns.
    """

    def __init__(self, named: Sequence[tuple[str, pa.DataType]], taken: Sequence[str]) -> None:
        self.names = _free([*(name for name, _ in named), ERROR], taken)
        self.types = [*(kind for _, kind in named), pa.string()]

    @abstractmethod
    def room(self, rows: int) -> np.ndarray:
        """An array for the answers of so many rows."""

    @abstractmethod
    def ask(self, items: Sequence[Any]) -> Any:
        """The model's answers, to be put into that array."""

    def columns(self, answers: np.ndarray, errors: dict[int, str]) -> Answered:
        """Answers of rows as columns. Rows with an error, by place, have nothing else."""
        given = np.ones(len(answers), np.bool_)
        given[list(errors)] = False
        columns, labels = self._columns(answers, given)
        if errors:
            columns = [column.zip_with(pl.Series(given), column.clear(len(column))) for column in columns]
        said = [errors.get(place) for place in range(len(answers))] if errors else [None] * len(answers)
        columns.append(pl.Series(said, dtype=pl.String))
        return Answered(
            pl.DataFrame([column.alias(name) for name, column in zip(self.names, columns, strict=True)]), labels
        )

    @abstractmethod
    def _columns(self, answers: np.ndarray, given: np.ndarray) -> tuple[list[pl.Series], Counter[str]]:
        """The columns but for the errors, and the labels that are counted; both of what is `given` alone."""


def answers_for(predictor: Predictor, *, scores: bool, taken: Sequence[str]) -> Answers:
    """The columns of a model's answers. A name that the file has already gets `predicted_` before it."""
    if isinstance(predictor, LabelPredictor):
        return LabelAnswers(predictor, scores, taken)
    return RankedAnswers(predictor, taken)


class LabelAnswers(Answers):
    """(Labels that apply,) the likeliest and its probability, and if asked for all probabilities."""

    def __init__(self, predictor: LabelPredictor, scores: bool, taken: Sequence[str]) -> None:
        self._predictor = predictor
        self._labels = pl.Series(predictor.labels, dtype=pl.String)
        self._thresholds, self._scores = np.array(predictor.thresholds), scores
        real = pa.float64()
        several = [("labels", pa.list_(pa.string()))] if predictor.thresholds else []
        each = [(f"score_{label}", real) for label in predictor.labels] if scores else []
        super().__init__([*several, ("label", pa.string()), ("score", real), *each], taken)

    def room(self, rows: int) -> np.ndarray:
        """float32 [rows, labels]."""
        return np.zeros((rows, len(self._labels)), np.float32)

    def ask(self, items: Sequence[Any]) -> np.ndarray:
        """Probabilities."""
        return self._predictor.scores(items)

    def _columns(self, answers: np.ndarray, given: np.ndarray) -> tuple[list[pl.Series], Counter[str]]:
        scores, best = shown(answers), answers.argmax(axis=1)
        columns = [self._labels.gather(best), pl.Series(scores[np.arange(len(best)), best])]
        counted = best[given]
        if len(self._thresholds):
            applying = (scores >= self._thresholds) & given[:, None]
            rows, counted = np.nonzero(applying)
            order = np.lexsort((counted, -scores[rows, counted], rows))
            ends = pa.array(np.concatenate([[0], np.cumsum(applying.sum(axis=1))]), pa.int32())
            texts = pa.array(self._labels.gather(counted[order]).to_list(), pa.string())
            columns = [pl.Series(pa.ListArray.from_arrays(ends, texts)), *columns]
        if self._scores:
            columns += [pl.Series(column) for column in scores.T]
        counts = np.bincount(counted, minlength=len(self._labels)).tolist()
        return columns, +Counter(dict(zip(self._labels.to_list(), counts, strict=True)))


class RankedAnswers(Answers):
    """Items, their scores, and what was fallen back on."""

    def __init__(self, predictor: Predictor, taken: Sequence[str]) -> None:
        self._predictor = predictor
        text, real = pa.string(), pa.float64()
        super().__init__([("items", pa.list_(text)), ("scores", pa.list_(real)), ("fallback", text)], taken)

    def room(self, rows: int) -> np.ndarray:
        """Of predictions."""
        return np.full(rows, None, object)

    def ask(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Predictions."""
        return self._predictor.predict(items)

    def _columns(self, answers: np.ndarray, given: np.ndarray) -> tuple[list[pl.Series], Counter[str]]:
        found = [answer or {"items": []} for answer in answers.tolist()]
        fallbacks = [answer.get("fallback") for answer in found]
        columns = [
            pl.Series([[one["item"] for one in answer["items"]] for answer in found], dtype=pl.List(pl.String)),
            pl.Series([[one["score"] for one in answer["items"]] for answer in found], dtype=pl.List(pl.Float64)),
            pl.Series(fallbacks, dtype=pl.String),
        ]
        return columns, Counter(fallback for fallback in fallbacks if fallback)


def _free(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """Names that are not taken, each once."""
    used, free = set(taken), []
    for name in names:
        base = unique = f"predicted_{name}" if name in used else name
        number = 2
        while unique in used:
            unique, number = f"{base}_{number}", number + 1
        used.add(unique)
        free.append(unique)
    return free
