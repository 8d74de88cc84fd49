"""Blocks to predictions. A row that cannot be answered gets an error and holds up no other."""

import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from workers.batch.sources import Block
from workers.inference.core import InputError, Predictor
from workers.inference.ranked import RankedItems
from workers.inference.text import Item
from workers.serving.config import MAX_BATCH

_WHOLE: Final = 2**31
_UNANSWERED: Final = "The model could not answer this row."


def _most(predictor: Predictor, kind: str) -> int:
    """Items of one run of the model, at most a block: of texts so few that their lengths are alike, of users so few
    that their scores of all items stay in 128 MB."""
    if isinstance(predictor, RankedItems):
        return max(1, 2**25 // len(predictor.items))
    return MAX_BATCH if kind == "text" else _WHOLE


class Answering:
    """A predictor at work on blocks. Texts are predicted in runs of similar length, so that little is padded; images
    are decoded in a few threads, since Pillow frees the GIL."""

    def __init__(self, predictor: Predictor, kind: str) -> None:
        self._predictor = predictor
        self._by_length = kind == "text"
        self._most = _most(predictor, kind)
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1)) if kind == "image" else None

    def answer(self, block: Block) -> tuple[list[dict[str, Any] | None], int]:
        """A prediction for each row, None where the block's errors say why there is none; and microseconds."""
        started = time.perf_counter()
        given = [place for place, error in enumerate(block.errors) if not error]
        items, places = [], []
        for place, prepared in zip(given, self._prepare([block.inputs[place] for place in given]), strict=True):
            if isinstance(prepared, InputError):
                block.errors[place] = prepared.message
            else:
                items.append(prepared)
                places.append(place)
        answers: list[dict[str, Any] | None] = [None] * len(block.errors)
        for place, prediction in zip(places, self._predict(items), strict=True):
            answers[place] = prediction
            if prediction is None:
                block.errors[place] = _UNANSWERED
        return answers, int(1e6 * (time.perf_counter() - started))

    def _prepare(self, inputs: Sequence[Any]) -> Iterable[Any]:
        return self._pool.map(self._prepared, inputs) if self._pool else map(self._prepared, inputs)

    def _prepared(self, raw: Any) -> Any:
        """The item, or the InputError."""
        try:
            return self._predictor.prepare(raw)
        except InputError as error:
            return error

    def _predict(self, items: Sequence[Any]) -> list[dict[str, Any] | None]:
        order: Sequence[int] = range(len(items))
        if self._by_length:
            order = sorted(order, key=lambda place: _length(items[place]))
        answers: list[dict[str, Any] | None] = [None] * len(items)
        for start in range(0, len(items), self._most):
            places = order[start : start + self._most]
            for place, prediction in zip(places, self._run([items[place] for place in places]), strict=True):
                answers[place] = prediction
        return answers

    def _run(self, items: list[Any]) -> Sequence[dict[str, Any] | None]:
        """The predictions of one run; where that fails, of the halves, so that only the row at fault is left out."""
        try:
            return self._predictor.predict(items)
        except MemoryError:
            raise
        except Exception:
            if len(items) == 1:
                return [None]
            half = len(items) // 2
            return [*self._run(items[:half]), *self._run(items[half:])]

    def close(self) -> None:
        """End the threads."""
        if self._pool:
            self._pool.shutdown()


def _length(item: Item) -> int:
    """Characters of a text, or of both of a pair."""
    return len(item) if isinstance(item, str) else sum(map(len, item))
