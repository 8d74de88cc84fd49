"""Columns of cells to columns of values: ratings and times, those that are written as usual all at once."""

from collections.abc import Iterable

import polars as pl

from workers.ingest import cells
from workers.ingest.coding import each
from workers.ingest.context import OtherwiseError

# Whole numbers within these bounds, and moments that are written like this, are read alike here and cell by cell; a day
# that no month has is null here and asked for again there.
_SECONDS = (10**8, 10**10 - 1)
_MOMENT = r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}Z?$"


def ratings(column: pl.Series) -> pl.Series:
    """float64: `cells.rating` of each cell; null where it has none."""
    places, found = each(column, cells.rating)
    return pl.Series(found, dtype=pl.Float64).gather(places)


class Times:
    """Reads a column of times, batch by batch. Of dates like 3/4/2024 the first one that can only be read in one way
    tells for all whether the days or the months come first, be it one of the `head`; the months, where none does."""

    def __init__(self, day_first: bool | None, head: Iterable[str]) -> None:
        told = (found for cell in head if (found := cells.day_first(cell)) is not None)
        self._day_first = next(told, None) if day_first is None else day_first
        self._doubt = ""

    @property
    def doubtful(self) -> str:
        """A date of which no row tells how it is meant, if there is one."""
        return self._doubt if self._day_first is None else ""

    def read(self, column: pl.Series) -> pl.Series:
        """int64: `cells.timestamp` of each cell, seconds since the epoch; null where it has none. Raises OtherwiseError
        where rows before it were not meant as they have been read."""
        numbers = column.cast(pl.Int64, strict=False)
        usual = numbers.is_between(*_SECONDS)
        if usual.all(ignore_nulls=False):
            return numbers
        known = pl.select(pl.when(usual).then(numbers)).to_series()
        for read in (_moments, self._others):
            if (missing := known.is_null().arg_true()).len():
                known = known.scatter(missing, read(column.gather(missing)))
        return known

    def _others(self, column: pl.Series) -> pl.Series:
        places, found = each(column, self._moment)
        return pl.Series(found, dtype=pl.Int64).gather(places)

    def _moment(self, cell: str) -> int | None:
        if self._day_first is None and cells.is_slashed(cell):
            self._day_first = cells.day_first(cell)
            if self._day_first is None:
                self._doubt = self._doubt or cell
            elif self._day_first and self._doubt:
                raise OtherwiseError(day_first=True)
        return cells.timestamp(cell, bool(self._day_first))


def _moments(column: pl.Series) -> pl.Series:
    written = column.str.slice(0, 10) + " " + column.str.slice(11, 8)
    moments = written.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.epoch("s")
    return pl.select(pl.when(column.str.contains(_MOMENT)).then(moments)).to_series()
