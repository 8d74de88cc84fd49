"""Each different text once, in order of appearance; and the lines of rows in few bytes."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

Places = npt.NDArray[np.int32]
Value = TypeVar("Value")


def coded(texts: pl.Series) -> pl.Series:
    """Texts as codes, so that `each` need not look at all of them once more."""
    # What is known of a type of its own is forgotten with the last column of it.
    return texts.cast(pl.Categorical(pl.Categories.random()))


def each(texts: pl.Series, value: Callable[[str], Value]) -> tuple[Places, list[Value]]:
    """A value per different text, in order of appearance, and for each row the place of its own among them.

    `texts`: may be `coded` already, and some of those.
    """
    is_coded = isinstance(texts.dtype, pl.Categorical)
    codes = texts if is_coded else coded(texts)
    places = codes.to_physical().to_numpy().astype(np.int32)
    order = np.arange(places.max(initial=-1) + 1)
    if is_coded:
        # The first of a text may be a row that is not here. Of several values for one place the last one stays.
        firsts = np.full(len(order), len(places))
        firsts[places[::-1]] = np.arange(len(places))[::-1]
        order = np.argsort(firsts)[: np.count_nonzero(firsts < len(places))]
        ranks = np.zeros(len(firsts), np.int32)
        ranks[order] = np.arange(len(order))
        places = ranks[places]
    different = pl.Series(order.astype(np.uint32)).cat.to(codes.dtype).cast(pl.String)
    return places, [value(text) for text in different.to_list()]


class LineNumbers:
    """The line that each row begins on. Kept are the rows at which lines and rows fall out of step."""

    def __init__(self) -> None:
        self._rows: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._ahead: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._count = 0
        self._last = 0

    def extend(self, lines: npt.NDArray[Any]) -> None:
        """The lines of the next rows."""
        if not len(lines):
            return
        changed = np.flatnonzero(lines[1:] - lines[:-1] != 1) + 1
        if int(lines[0]) - self._count != self._last:
            changed = np.append(0, changed)
        if len(changed):
            self._rows.append(changed + self._count)
            self._ahead.append(lines[changed] - self._rows[-1])
            self._last = int(self._ahead[-1][-1])
        self._count += len(lines)

    def __getitem__(self, rows: Any) -> Any:
        """The line of a row, or of each of several rows, by their numbers."""
        if len(self._rows) > 1:
            self._rows, self._ahead = [np.concatenate(self._rows)], [np.concatenate(self._ahead)]
        places = np.searchsorted(self._rows[0], rows, side="right") - 1
        return rows + self._ahead[0][places]
