"""Where a table begins below what exports write above it, and whether its first row names its columns."""

import itertools
from collections.abc import Sequence
from statistics import median_low, mode
from typing import Final

from workers.contracts.errors import JobError
from workers.ingest import cells
from workers.ingest.columns import is_number, is_usual
from workers.ingest.records import Problem, Record

_SHARE = 0.9
_ENOUGH_ROWS = 8
_MOST_TITLES = 20
_YEARS = range(1900, 2101)
SHOWN: Final = 20
"""How many of the first rows are shown to whoever is asked where the table begins."""


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


def above_table(top: Sequence[Record], said: int | None) -> int:
    """How many of the first records stand above the table, which begins on the line that was `said`, or where it seems
    to. Raises JobError no_rows."""
    if said is None:
        return titles([record.fields for record in top])
    above = sum(record.line < said for record in top)
    if above == len(top):
        raise JobError("no_rows", f"There is no row from line {said} on.", hint="Choose an earlier line.")
    return above


def titles(rows: Sequence[list[str]]) -> int:
    """How many of a table's first rows (of those not empty) stand above the names of the columns, as titles of exports.

    They fill a single cell, or two where four or more are usual in the rows below, or have another number of fields
    than nearly all of these. None of them holds what columns are usually called, unless the row below them does.
    """
    if len(rows) < 2:
        return 0
    filled = [sum(1 for cell in row if cell.strip()) for row in rows]
    usual, width = median_low(filled), mode(len(row) for row in rows)
    below = list(itertools.dropwhile(lambda row: len(row) != width, rows))
    is_even = len(below) > 1 and sum(len(row) == width for row in below) >= _SHARE * len(below)
    most = 2 if usual >= 4 else 1

    def is_title(row: list[str], count: int) -> bool:
        return (usual > 1 and count <= most) or (is_even and _is_other(row, width, below))

    above = sum(1 for _ in itertools.takewhile(lambda pair: is_title(*pair), zip(rows, filled, strict=True)))
    return above if 0 < above <= _MOST_TITLES and _begins_at(above, rows, width) else 0


def _is_other(row: list[str], width: int, below: list[list[str]]) -> bool:
    """Whether a row is shorter or longer than the table, beyond blank cells that one of both ends with."""
    if len(row) > width:
        return any(cell.strip() for cell in row[width:])
    return any(cell.strip() for other in below for cell in other[len(row) :])


def _begins_at(above: int, rows: Sequence[list[str]], width: int) -> bool:
    """Whether a table that seems to begin below some rows does so, rather than these being names or values."""
    if above == len(rows):
        return False
    names, below = rows[above], [row for row in rows[above + 1 :] if len(row) == len(rows[above])]
    if any(is_usual(cell) for cell in names if cell.strip()):
        return True
    cells_above = [cell for row in rows[:above] for cell in row if cell.strip()]
    if any(is_usual(cell) for cell in cells_above):
        return False
    if lacks_first_name(rows[0], rows[1:]):
        return has_header(names, below)
    # Of two columns a row that fills one may be a row.
    is_cut = all(len(row) < width for row in rows[:above])
    return (width > 2 or is_cut) and (has_header(names, below) or not all(map(is_number, cells_above)))


def lacks_first_name(names: list[str], rows: Sequence[list[str]]) -> bool:
    """Whether each row begins with a name of its own, which R writes below no name of a column."""
    if len(names) < 2 or len(rows) < 2 or any(len(row) != len(names) + 1 for row in rows):
        return False
    # Otherwise these are delimiters too many.
    return any(row[-1].strip() for row in rows)


def title(line: int, fields: list[str], width: int) -> Record:
    """A row above a table, to be told among the rows that are not used."""
    value = " | ".join(field for field in fields if field.strip())
    message = "The row stands above the names of the columns."
    return Record(line, fields[:width], Problem("row_malformed", message, value=value))


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
