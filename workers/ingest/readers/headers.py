"""Whether the first row of a table names its columns or is a row like the others."""

import itertools
from collections.abc import Iterable
from statistics import median_low

from workers.ingest import cells
from workers.ingest.columns import is_number, is_usual

_SHARE = 0.9
_ENOUGH_ROWS = 8
_MOST_TITLES = 10
_YEARS = range(1900, 2101)


def has_header(first: list[str], rows: list[list[str]]) -> bool:
    """Judge by the rows below, each as long as the first; in doubt it is a header.

    A word over numbers is a name; so is what columns are usually called. Otherwise a number over numbers, or a value
    that its column has again and again, is one more row.
    """
    if len(first) < 2:
        return True
    if all(is_number(cell) for cell in first):
        return False
    if any(is_usual(cell) for cell in first) or _counts_up(first):
        return True
    signs = [_sign(cell.strip(), [row[place].strip() for row in rows]) for place, cell in enumerate(first)]
    return True in signs or False not in signs


def titles(rows: Iterable[list[str]]) -> int:
    """How many of a sheet's first rows (of those not empty) stand above the names of the columns, as titles of exports.

    They fill a single cell, or two where four or more are usual in the rows below.
    """
    filled = [sum(1 for cell in row if cell.strip()) for row in rows]
    usual = median_low(filled) if filled else 0
    most = 2 if usual >= 4 else 1
    above = sum(1 for _ in itertools.takewhile(lambda count: count <= most, filled)) if usual > 2 else 0
    return above if above <= _MOST_TITLES else 0


def unnamed(count: int) -> list[str]:
    """What the columns of a table without a header are called."""
    return [f"column_{number}" for number in range(1, count + 1)]


def _sign(cell: str, below: list[str]) -> bool | None:
    """Whether a cell speaks for a header, against it, or for nothing."""
    present = [value for value in below if value]
    if not cell or not present:
        return None
    for read in (cells.rating, cells.timestamp):
        values = [found for value in present if (found := read(value)) is not None]
        if len(values) >= _SHARE * len(present):
            own = read(cell)
            if own is None:
                return True
            low, high = min(values), max(values)
            return False if low - (high - low) <= own <= high + (high - low) or low == high == own else None
    different = set(present)
    if len(present) >= _ENOUGH_ROWS and len(different) <= max(2, len(present) // 4):
        return False if cell in different else None
    return None


def _counts_up(first: list[str]) -> bool:
    """Years, or numbers that count up: the heads of a table with a column for each."""
    numbers = [int(cell) for cell in first if cell.isascii() and cell.strip().isdigit() and len(cell) < 9]
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    return len(numbers) > 1 and steps == {1} and (len(numbers) > 2 or set(numbers) <= set(_YEARS))
