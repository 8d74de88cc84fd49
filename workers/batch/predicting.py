"""Rows to answers. A row that cannot be answered gets an error and holds up no other."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from workers.batch.answers import Answers
from workers.batch.questions import tried
from workers.batch.sources import Block
from workers.inference.core import Predictor
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
    """A predictor at work on blocks of rows. Texts are predicted in runs of similar length, so that little is padded;
    images are decoded in a few threads, since Pillow frees the GIL.

    What is predicted together is decided within a block: the same rows get the same answers, whatever came before.
    """

    def __init__(self, predictor: Predictor, kind: str, answers: Answers) -> None:
        self._predictor, self._answers = predictor, answers
        self._by_length = kind == "text"
        self._most = _most(predictor, kind)
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1)) if kind == "image" else None

    def answer(self, block: Block) -> tuple[np.ndarray, int]:
        """The answers of a block, in an array of Answers, and microseconds. Why a row has none, its errors say."""
        started = time.perf_counter()
        answers, errors = self._answers.room(len(block)), block.errors
        places = [place for place in range(len(block)) if place not in errors]
        items, wrong = self._prepared([block.inputs[place] for place in places])
        if wrong:
            errors.update((places[at], message) for at, message in wrong.items())
            places, items = ([one for at, one in enumerate(ones) if at not in wrong] for ones in (places, items))
        order: Sequence[int] = range(len(items))
        if self._by_length:
            order = sorted(order, key=[_length(item) for item in items].__getitem__)
        for first in range(0, len(items), self._most):
            run = order[first : first + self._most]
            self._run([places[at] for at in run], [items[at] for at in run], answers, errors)
        return answers, int(1e6 * (time.perf_counter() - started))

    def _prepared(self, inputs: Sequence[Any]) -> tuple[list[Any], dict[int, str]]:
        prepare = self._predictor.prepare
        if self._pool is None:
            return tried(prepare, inputs)
        alone = list(self._pool.map(lambda raw: tried(prepare, [raw]), inputs))
        errors = {at: wrong[0] for at, (_, wrong) in enumerate(alone) if wrong}
        return [items[0] for items, _ in alone], errors

    def _run(self, places: list[int], items: list[Any], answers: np.ndarray, errors: dict[int, str]) -> None:
        """One run of the model; where that fails, one of each half, so that only the row at fault is left out."""
        try:
            answers[places] = self._answers.ask(items)
        except MemoryError:
            raise
        except Exception:
            if len(items) == 1:
                errors[places[0]] = _UNANSWERED
                return
            half = len(items) // 2
            self._run(places[:half], items[:half], answers, errors)
            self._run(places[half:], items[half:], answers, errors)

    def close(self) -> None:
        """End the threads."""
        if self._pool:
            self._pool.shutdown()


def _length(item: Item) -> int:
    """Characters of a text, or of both of a pair."""
    return len(item) if isinstance(item, str) else sum(map(len, item))
