"""Columns of cells to columns of values: ratings and times, those that are written as usual all at once."""

import polars as pl

from workers.ingest import cells
from workers.ingest.coding import each

# Whole numbers within these bounds, and moments that are written like this, are read alike here and cell by cell; a day
# that no month has is null here and asked for again there.
_SECONDS = (10**8, 10**10 - 1)
_MOMENT = r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}Z?$"


def ratings(column: pl.Series) -> pl.Series:
    """float64: `cells.rating` of each cell; null where it has none."""
    places, found = each(column, cells.rating)
    return pl.Series(found, dtype=pl.Float64).gather(places)


def times(column: pl.Series) -> pl.Series:
    """int64: `cells.timestamp` of each cell, seconds since the epoch; null where it has none."""
    numbers = column.cast(pl.Int64, strict=False)
    usual = numbers.is_between(*_SECONDS)
    if usual.all(ignore_nulls=False):
        return numbers
    known = pl.select(pl.when(usual).then(numbers)).to_series()
    for read in (_moments, _others):
        if (missing := known.is_null().arg_true()).len():
            known = known.scatter(missing, read(column.gather(missing)))
    return known


def _moments(column: pl.Series) -> pl.Series:
    written = column.str.slice(0, 10) + " " + column.str.slice(11, 8)
    moments = written.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.epoch("s")
    return pl.select(pl.when(column.str.contains(_MOMENT)).then(moments)).to_series()


def _others(column: pl.Series) -> pl.Series:
    places, found = each(column, cells.timestamp)
    return pl.Series(found, dtype=pl.Int64).gather(places)
