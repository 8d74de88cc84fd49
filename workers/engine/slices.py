"""Parts of a split that may be answered better or worse than the rest: by length, script, image size, class size."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from workers.contracts.report import Interval, Slice
from workers.engine.metrics import wilson

_CHARACTERS: Final = (20, 50, 100, 200, 500, 1000, 5000)
_PIXELS: Final = (32, 64, 128, 256, 512, 1024)
_EXAMPLES: Final = (9, 29, 99, 299, 999, 9999)
# The first word of a character's Unicode name is its script; these have another name among people.
_SCRIPTS: Final = {"CJK": "Chinese characters", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "FULLWIDTH": "Latin"}
# Characters that decide: enough to know a text's script.
_LOOKED_AT: Final = 400
_MOST: Final = 20


# Names of the parts in reading order, and for each row the place of its part among them.
Parts = tuple[list[str], np.ndarray]


def text_lengths(texts: Sequence[str]) -> Parts:
    """Bands of the number of characters."""
    return bands(np.array([len(text) for text in texts]), _CHARACTERS)


def image_sizes(widths: np.ndarray, heights: np.ndarray) -> Parts:
    """Bands of the shorter side in pixels."""
    return bands(np.minimum(widths, heights), _PIXELS)


def class_sizes(training_rows: np.ndarray) -> Parts:
    """Bands of the number of training rows that a row's class has."""
    return bands(training_rows, _EXAMPLES)


def bands(values: np.ndarray, ends: Sequence[int]) -> Parts:
    """Bands 0, 1–20, 21–50, …; the last one is open."""
    edges = [0, *ends]
    names = ["0", *(f"{low + 1:,}–{high:,}" for low, high in zip(edges, ends, strict=False)), f"over {ends[-1]:,}"]
    return names, np.searchsorted(edges, values, side="left")


def scripts(texts: Sequence[str]) -> Parts:
    """The script that most letters of a text belong to, the commonest first; kana make Chinese characters Japanese."""
    found = [_script(text[:_LOOKED_AT]) for text in texts]
    names = [name for name, _ in Counter(found).most_common()]
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place[name] for name in found], dtype=np.int64)


def _script(text: str) -> str:
    counts = Counter(_script_of(character) for character in text)
    counts.pop("", None)
    if not counts:
        return "No letters"
    if "Japanese" in counts and "Chinese characters" in counts:
        counts["Japanese"] += counts.pop("Chinese characters")
    name, most = counts.most_common(1)[0]
    return name if most >= 0.7 * counts.total() else "Mixed"


@lru_cache(maxsize=20_000)
def _script_of(character: str) -> str:
    if not character.isalpha():
        return ""
    word = unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
    return _SCRIPTS.get(word, word.capitalize())


def sliced(group: str, parts: Parts, right: np.ndarray) -> list[Slice]:
    """A slice per part that has rows; none where all rows are in one. right: bool [rows]."""
    names, place = parts
    rows = np.bincount(place, minlength=len(names)).tolist()
    hits = np.bincount(place, weights=right, minlength=len(names)).astype(np.int64).tolist()
    if sum(count > 0 for count in rows) < 2:
        return []
    found: list[Slice] = []
    for name, count, hit in zip(names, rows, hits, strict=True):
        if count and len(found) < _MOST:
            low, high = wilson(hit, count)
            interval = Interval(low=low, high=high)
            found.append(Slice(group=group, name=name, rows=count, accuracy=hit / count, interval=interval))
    return found
