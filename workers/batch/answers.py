"""Answers as columns: what stands beside a row, by kind of predictor."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import pyarrow as pa

ERROR = "error"


class Answers(NamedTuple):
    """The columns that are added: their names in the file, `error` last, and their types.

    `cells` makes a row's values of a prediction, without the error; `counted` is what is counted of it: its label, or
    all that apply.
    """

    names: list[str]
    types: list[pa.DataType]
    cells: Callable[[dict[str, Any]], list[Any]]
    counted: Callable[[dict[str, Any]], list[str]]

    def row(self, prediction: dict[str, Any] | None, error: str) -> list[Any]:
        """The cells beside one row; None where there is nothing to say."""
        if prediction is None:
            return [*[None] * (len(self.names) - 1), error]
        return [*self.cells(prediction), None]


def answers_for(manifest: dict[str, Any], *, scores: bool, taken: Sequence[str]) -> Answers:
    """The columns for a model. A name that the file has already gets `predicted_` before it."""
    text, real = pa.string(), pa.float64()
    labels: list[str] = manifest["labels"]
    if labels:
        wanted = labels if scores else []
        several = ["labels"] if manifest.get("thresholds") else []
        names = [*several, "label", "score", *(f"score_{label}" for label in wanted)]
        types = [*(pa.list_(text) for _ in several), text, real, *[real] * len(wanted)]

        leading = itemgetter(*several, "label", "score")

        def cells(prediction: dict[str, Any]) -> list[Any]:
            if not wanted:
                return list(leading(prediction))
            return [*leading(prediction), *[prediction["scores"][label] for label in wanted]]

        def counted(prediction: dict[str, Any]) -> list[str]:
            return list(prediction["labels"]) if several else [prediction["label"]]

        return Answers(_free([*names, ERROR], taken), [*types, text], cells, counted)
    names, types = ["items", "scores", "fallback", ERROR], [pa.list_(text), pa.list_(real), text, text]
    return Answers(_free(names, taken), types, _ranked, _fallback)


def _fallback(prediction: dict[str, Any]) -> list[str]:
    found = prediction.get("fallback")
    return [found] if found else []


def _ranked(prediction: dict[str, Any]) -> list[Any]:
    items = prediction["items"]
    return [[one["item"] for one in items], [one["score"] for one in items], prediction.get("fallback")]


def _free(names: Sequence[str], taken: Sequence[str]) -> list[str]:
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
