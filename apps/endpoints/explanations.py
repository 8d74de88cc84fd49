"""Explanations of the prediction API, arranged for the playground's page."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

# Weights are log-odds: below this the answer hardly moves, and drawing the largest at full strength would mislead.
_FELT = 0.05
_LEVELS = 4
_LISTED = 6


class Piece(NamedTuple):
    """Some of a text, how strongly it speaks (0 to 4), and whether for ("for") or against ("against") the answer."""

    text: str
    level: int
    side: str
    weight: float


class Cell(NamedTuple):
    """A cell of a heat map, in cells from the upper left; `strength` is its opacity."""

    x: int
    y: int
    strength: str
    side: str


class Reason(NamedTuple):
    """A part of the input with its weight; `share` is its size beside the largest, 0 to 1."""

    name: str
    weight: float
    share: float
    side: str


def shown(prediction: dict[str, Any], value: Any) -> dict[str, Any] | None:
    """What the page draws: `texts`, each its pieces, `cells` of an image, `reasons` of both and of a row, or `because`
    of recommendations. None where no explanation was asked for. `value` is the input that was sent."""
    found: dict[str, Any] | None = prediction.get("explanation")
    if found is None:
        return None
    if "words" in found:
        parts = value if isinstance(value, dict) else {"text": value}
        words = {name: [word for word in found["words"] if word.get("input", "text") == name] for name in parts}
        largest = _largest(found["words"])
        texts = [list(_pieces(str(text), words[name], largest)) for name, text in parts.items()]
        return {"label": found["label"], "texts": texts, "reasons": _reasons(found["words"], "text")}
    if "weights" in found:
        rows, columns = found["grid"]
        cells = _cells(found["weights"])
        return {"label": found["label"], "cells": cells, "rows": rows, "columns": columns, "crop": found.get("crop")}
    if "columns" in found:
        return {"label": found["label"], "reasons": _reasons(found["columns"], "column")}
    return {"because": [entry for entry in found["items"] if entry["because"]]}


def _pieces(text: str, words: Sequence[dict[str, Any]], largest: float) -> Iterator[Piece]:
    """The whole text in order: words with their weights, and what lies between them without."""
    end = 0
    for word in words:
        if word["start"] > end:
            yield Piece(text[end : word["start"]], 0, "", 0.0)
        end = word["end"]
        weight = word["weight"]
        yield Piece(word["text"], round(_LEVELS * abs(weight) / largest), _side(weight), weight)
    if end < len(text):
        yield Piece(text[end:], 0, "", 0.0)


def _cells(weights: list[list[float]]) -> list[Cell]:
    largest = max(_FELT, *(abs(weight) for row in weights for weight in row))
    return [
        Cell(x, y, f"{0.75 * abs(weight) / largest:.3f}", _side(weight))
        for y, row in enumerate(weights)
        for x, weight in enumerate(row)
    ]


def _reasons(parts: Sequence[dict[str, Any]], name: str) -> list[Reason]:
    """The parts that matter most, those that do not left out."""
    largest = _largest(parts)
    strongest = sorted(parts, key=lambda part: -abs(part["weight"]))[:_LISTED]
    return [
        Reason(str(part[name]), part["weight"], abs(part["weight"]) / largest, _side(part["weight"]))
        for part in strongest
        if abs(part["weight"]) >= _FELT
    ]


def _largest(parts: Sequence[dict[str, Any]]) -> float:
    return max([_FELT, *(abs(part["weight"]) for part in parts)])


def _side(weight: float) -> str:
    return "for" if weight > 0 else "against"
