"""Several labels of one row: how they stand in a cell, and which sign between them a column shows."""

import ast
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from workers.ingest.cells import cell_text, name, rating
from workers.ingest.records import printable

# The labels of a row: each once, sorted. () is a row that is said to have none.
LabelSet = tuple[str, ...]
SEPARATORS: Final = ("|", ";", ",")
"""What is looked for between labels. Any other short text can be asked for."""
OPTION: Final = "label_separator"
EMPTY: Final = "empty_label"
"""The option by which a blank cell is what [] is, if it is NONE: a row that has none of several labels."""
NONE: Final = "none"
NO_LABELS: Final = "[]"
# Longer cells are no lists that Python wrote.
_LONGEST_LITERAL: Final = 20_000
# A column is offered to be split where this share of its cells, and so many, hold the sign; lists that are fewer are
# slips, not what the column holds.
_SHARE, _LEAST = 0.05, 3


def are_usual(lists: int, rows: int) -> bool:
    """Whether so many lists among the labels of rows say that rows have several labels each."""
    return lists >= max(_LEAST, _SHARE * rows)


def hold_lists(cells: Sequence[str]) -> bool:
    """Whether a column of labels holds lists of them."""
    filled = [cell for cell in cells if cell.strip()]
    return are_usual(sum(read(cell) is not None for cell in filled), len(filled))


def read(cell: str, separator: str = "") -> LabelSet | None:
    """The labels in a cell: of a list as JSON or Python write it, or parted by `separator`; None for a plain label."""
    bare = cell.strip()
    if bare.startswith("[") and bare.endswith("]") and (listed := _list(bare)) is not None:
        return listed
    return of(bare.split(separator)) if separator else None


def of(labels: Iterable[str]) -> LabelSet:
    """Some labels as they are kept. JSON can hold characters that a file's text cannot."""
    return tuple(sorted({kept for label in labels if (kept := name(printable(label)))}))


def text(labels: Sequence[str]) -> str:
    """A set of labels as one text: a JSON array. `read` takes it back."""
    return orjson.dumps(list(labels)).decode()


def _list(cell: str) -> LabelSet | None:
    try:
        found: Any = orjson.loads(cell)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        found = _literal(cell)
    if not isinstance(found, list) or not all(isinstance(one, str | int | float | None) for one in found):
        return None
    return of(map(cell_text, found))


def _literal(cell: str) -> Any:
    """['a', 'b'], as pandas writes a column of lists into CSV."""
    if len(cell) > _LONGEST_LITERAL or cell[1:].lstrip()[:1] not in ("'", '"'):
        return None
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def guess_separator(cells: Mapping[str, int]) -> str | None:
    """The sign that parts several labels in cells (with how often each occurs), if they look like that; else None.

    Labels that merely hold a comma do not: their parts always come together. Of real sets most parts occur in several
    different cells, and there are no more different parts than different cells.
    """
    # What stands in lists needs no sign.
    counts = {cell: count for cell, count in cells.items() if cell.strip() and read(cell) is None}
    if all(rating(cell) is not None for cell in counts):
        # Numbers with decimal commas.
        return None
    for separator in SEPARATORS:
        parted = {cell: of(cell.split(separator)) for cell in counts}
        several = sum(count for cell, count in counts.items() if len(parted[cell]) > 1)
        if several < max(_LEAST, _SHARE * sum(counts.values())):
            continue
        occurs = Counter(part for parts in set(parted.values()) for part in parts)
        if len(occurs) <= len(set(parted.values())) and sum(n > 1 for n in occurs.values()) > len(occurs) / 2:
            return separator
    return None
