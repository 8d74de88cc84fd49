"""Why a model answered so: parts of the input are left out, one at a time, and the model is asked again.

Occlusion (Zeiler and Fergus 2014) for texts and images, leave-one-out of the history for recommendations. What counts
for a label is by how much its log-odds fall without the part (weight of evidence, Robnik-Šikonja and Kononenko 2008):
positive weights speak for the label that was answered, negative ones against it. Only the served model is used.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import islice, pairwise
from math import isqrt
from typing import Any, Final, NamedTuple

import numpy as np

from workers.inference.core import Predictor
from workers.inference.image import ImageLabels
from workers.inference.ranked import Query, RankedItems
from workers.inference.tabular import FEATURES, TableLabels
from workers.inference.text import Item, TextLabels

# Inputs that one request may have explained, and how often the model may be asked for all of them together.
MAX_EXPLAINED: Final = 8
MAX_ASKED: Final = 256
_BATCH: Final = 32
_MOST_CELLS: Final = 14
_MOST_REASONS: Final = 5
_LEAST: Final = 1e-12
_INPUTS: Final = ("text", "text_pair")


class Explained(NamedTuple):
    """One explanation per prediction, and how many items the model was asked for them."""

    explanations: list[dict[str, Any]]
    asked: int


class _Model:
    """The model as explanations see it: batches of changed inputs, counted, each a chance to stop."""

    def __init__(self, predictor: Any, go_on: Callable[[], None]) -> None:
        self.predictor = predictor
        self.asked = 0
        self._go_on = go_on

    def ask(self, items: Iterable[Any], read: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What `read` makes of the scores [items, …] of some items, a few at a time."""
        items = iter(items)
        parts = []
        while batch := list(islice(items, _BATCH)):
            self._go_on()
            parts.append(read(self.predictor.scores(batch)))
            self.asked += len(batch)
        return np.concatenate(parts)


def explain(
    predictor: Predictor,
    items: Sequence[Any],
    predictions: Sequence[dict[str, Any]],
    go_on: Callable[[], None] = lambda: None,
    most: int = MAX_ASKED,
) -> Explained:
    """Explain the predictions of some items; the model is asked at most `most` more for all of them together.

    `go_on` is called before each batch and may raise to end it. Raises TypeError for a predictor without explanation.
    """
    # One question of each item's share is for the item as it is.
    budget = max(1, most // max(1, len(items)) - 1)
    model = _Model(predictor, go_on)
    method = next((method for kind, method in METHODS.items() if isinstance(predictor, kind)), None)
    if method is None:
        raise TypeError(f"{type(predictor).__name__} has no explanation")
    found = [method(model, item, answer, budget) for item, answer in zip(items, predictions, strict=True)]
    return Explained(found, model.asked)


def can_explain(predictor: Predictor) -> bool:
    """Whether there is a way to explain what this predictor answers."""
    return isinstance(predictor, tuple(METHODS))


def _falls(model: _Model, whole: Any, changed: Iterable[Any], label: str) -> np.ndarray:
    """float64 [changed]: by how much the label's log-odds fall from the whole item to each changed one."""
    place = model.predictor.labels.index(label)

    def log_odds(scores: np.ndarray) -> np.ndarray:
        # The others are summed, not subtracted from one: near one that would lose every digit.
        if getattr(model.predictor, "thresholds", None):
            others = 1 - scores[:, place].astype(np.float64)
        else:
            others = np.delete(scores, place, axis=1).astype(np.float64).sum(axis=1)
        odds: np.ndarray = np.log(np.maximum(scores[:, place].astype(np.float64), _LEAST) / np.maximum(others, _LEAST))
        return odds

    odds = model.ask([whole], log_odds)
    falls: np.ndarray = odds[0] - model.ask(changed, log_odds)
    return falls


def _words(model: _Model, item: Item, answer: dict[str, Any], budget: int) -> dict[str, Any]:
    """{"method", "label", "words": [{"text", "start", "end", "weight"}]}; neighbours share a weight in long texts.

    Start and end count Unicode code points. Of a pair each word says in `input` in which it is, text or text_pair.
    """
    texts = [item] if isinstance(item, str) else list(item)
    paired = len(texts) > 1
    # Each text has the share of the questions that is the share of its words.
    found = [word_spans(text) for text in texts]
    every = sum(map(len, found))
    most = [budget * len(spans) // max(1, every) or 1 for spans in found]
    places = [(number, start, end) for number, spans in enumerate(found) for start, end in _joined(spans, most[number])]

    def without(number: int, start: int, end: int) -> Item:
        left = texts[number][:start] + texts[number][end:]
        if not paired:
            return left
        return (left, texts[1]) if number == 0 else (texts[0], left)

    weights = _falls(model, item, (without(*place) for place in places), answer["label"])
    words = [
        {
            "text": texts[number][start:end],
            "start": start,
            "end": end,
            "weight": round(weight, 4),
            **({"input": _INPUTS[number]} if paired else {}),
        }
        for (number, start, end), weight in zip(places, weights.tolist(), strict=True)
    ]
    return {"method": "occlusion", "label": answer["label"], "words": words}


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where words, single characters of scripts without spaces, and runs of signs begin and end."""
    spans: list[tuple[int, int]] = []
    before = ""
    for place, character in enumerate(text):
        kind = _kind(character, before)
        if kind and kind == before and kind != "alone":
            spans[-1] = (spans[-1][0], place + 1)
        elif kind:
            spans.append((place, place + 1))
        before = kind
    return spans


def _kind(character: str, before: str) -> str:
    """Of a character: "" for space, "word", "sign", or "alone" for one that is a word of its own."""
    category = unicodedata.category(character)
    if character.isspace() or category == "Cc":
        return ""
    if category[0] == "M" and before:
        return before
    if character in "'’":
        return before if before == "word" else "sign"
    if category[0] not in "LMN":
        return "sign"
    return "alone" if "\u3040" <= character <= "\u9fff" or "\U00020000" <= character <= "\U0003ffff" else "word"


def _joined(spans: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """At most so many spans: neighbours become one where there are more."""
    if len(spans) <= most:
        return spans
    ends = np.linspace(0, len(spans), most + 1).astype(int).tolist()
    return [(spans[first][0], spans[last - 1][1]) for first, last in pairwise(ends)]


def _regions(model: _Model, image: np.ndarray, answer: dict[str, Any], budget: int) -> dict[str, Any]:
    """{"method", "label", "grid": [rows, columns], "weights": [[…], …], "crop"?}: a heat map over what the model sees.

    That is the whole image, or with `crop` its middle (see `decode_image`). A window of the image's mean colour, two
    cells wide, slides over the cells. image: uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    side = max(1, min(_MOST_CELLS, isqrt(budget), height // 2, width // 2))
    mean = image.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)

    def occluded(row: int, column: int) -> np.ndarray:
        changed = image.copy()
        top, bottom = (round(height * (row + shift) / side) for shift in (-0.5, 1.5))
        left, right = (round(width * (column + shift) / side) for shift in (-0.5, 1.5))
        changed[max(0, top) : bottom, max(0, left) : right] = mean
        return changed

    cells = (occluded(row, column) for row in range(side) for column in range(side))
    weights = _falls(model, image, cells, answer["label"]).reshape(side, side)
    crop = model.predictor.manifest["preprocessing"].get("crop")
    return {
        "method": "occlusion",
        "label": answer["label"],
        "grid": [side, side],
        "weights": weights.round(4).tolist(),
        **({"crop": crop} if crop else {}),
    }


def _columns(model: _Model, row: np.ndarray, answer: dict[str, Any], budget: int) -> dict[str, Any]:
    """{"method", "label", "columns": [{"column", "weight"}]}: what changes where a column's value is missing.

    Of a table wider than the budget, the first columns are explained.
    """
    columns = model.predictor.manifest["preprocessing"]["columns"]
    missing = [np.array(FEATURES[column["type"]](column)(""), np.float64) for column in columns]
    starts = np.concatenate([[0], np.cumsum([len(features) for features in missing])]).tolist()

    def without(place: int) -> np.ndarray:
        changed = row.copy()
        changed[starts[place] : starts[place + 1]] = missing[place]
        return changed

    asked = range(min(len(columns), budget))
    weights = _falls(model, row, map(without, asked), answer["label"]).round(4).tolist()
    found = [{"column": columns[place]["name"], "weight": weight} for place, weight in zip(asked, weights, strict=True)]
    return {"method": "occlusion", "label": answer["label"], "columns": found}


def _reasons(model: _Model, query: Query, answer: dict[str, Any], budget: int) -> dict[str, Any]:
    """{"method", "items": [{"item", "because": [{"item", "weight"}]}]}: by how much the score of a recommended item
    falls without an item of the history; the heaviest ones, none where nothing is known of a taste.

    Of a history longer than the budget, the items that weigh most are left out one by one.
    """
    catalogue: RankedItems = model.predictor
    names = [entry["item"] for entry in answer["items"]]
    reasons: list[dict[str, Any]] = [{"item": name, "because": []} for name in names]
    explained = {"method": "leave-one-out", "items": reasons}
    if query.fallback or not names:
        return explained
    number = {item: place for place, item in enumerate(catalogue.items)} if len(names) > 50 else None
    columns = [number[name] if number else catalogue.items.index(name) for name in names]
    asked = np.argsort(-query.weights, kind="stable")[:budget]
    whole = model.ask([query], lambda scores: scores[:, columns])[0]
    falls = whole - model.ask((_without(query, place, catalogue) for place in asked), lambda scores: scores[:, columns])
    for column, reason in enumerate(reasons):
        for best in np.argsort(-falls[:, column], kind="stable")[:_MOST_REASONS].tolist():
            if (weight := round(float(falls[best, column]), 6)) > 0:
                item = catalogue.items[int(query.history[asked[best]])]
                reason["because"].append({"item": item, "weight": weight})
    return explained


def _without(query: Query, place: int, catalogue: RankedItems) -> Query:
    """The query with one item of its history replaced by padding."""
    history, weights = query.history.copy(), query.weights.copy()
    history[place], weights[place] = len(catalogue.items), 0
    return query._replace(history=history, weights=weights)


METHODS: Final[dict[type[Predictor], Callable[[_Model, Any, dict[str, Any], int], dict[str, Any]]]] = {
    TextLabels: _words,
    ImageLabels: _regions,
    TableLabels: _columns,
    RankedItems: _reasons,
}
