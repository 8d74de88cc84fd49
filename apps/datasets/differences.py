"""What changed between two versions: how many rows of each kind of change, and a page of them."""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from apps.core.artifacts import storage
from apps.datasets.edits import opened
from apps.datasets.models import DatasetVersion
from workers.contracts.errors import UserError
from workers.ingest.differences import CHANGES, Differences, Pairs, compare, linked, read_lineage

Ints = npt.NDArray[np.int64]
ROWS_PER_PAGE: Final = 50
_LEFT_OUT: Final = ("image", "hash", "row")
_CELL_CHARS: Final = 2000


class ChangePage(NamedTuple):
    """Counts by kind of change, and one page of the rows of `change`: {"from_row", "to_row", "before", "after"}, the
    cells by column, None where the row is not in that version."""

    counts: dict[str, int]
    change: str
    rows: list[dict[str, Any]]
    page: int
    pages: int


def changes(first: DatasetVersion, second: DatasetVersion, change: str = "", page: int = 1) -> ChangePage:
    """What turns one version of a dataset into another; without `change` the first kind that there is.

    Raises UserError `dataset_not_ready`, `invalid`.
    """
    if change not in ("", *CHANGES):
        raise UserError("invalid", fields=[{"field": "change", "message": f"one of {', '.join(CHANGES)}"}])
    found = _differences(first, second)
    counts = found.counts()
    change = change or next((name for name in CHANGES if counts[name]), CHANGES[0])
    before, after = getattr(found, change)
    here = slice((page - 1) * ROWS_PER_PAGE, page * ROWS_PER_PAGE)
    old, new = before[here], after[here]
    rows = zip(old.tolist(), _cells(first, old), new.tolist(), _cells(second, new), strict=True)
    return ChangePage(
        counts,
        change,
        [
            {"from_row": at if was else None, "to_row": to if now else None, "before": was, "after": now}
            for at, was, to, now in rows
        ],
        page,
        max(1, -(-counts[change] // ROWS_PER_PAGE)),
    )


def _differences(first: DatasetVersion, second: DatasetVersion) -> Differences:
    for version in (first, second):
        if version.state != DatasetVersion.State.READY:
            raise UserError("dataset_not_ready")
    return _compared(first.pk, second.pk)


@lru_cache(maxsize=16)
def _compared(first_pk: str, second_pk: str) -> Differences:
    """Versions never change, so neither does what they differ in."""
    first, second = (DatasetVersion.objects.get(pk=pk) for pk in (first_pk, second_pk))
    with opened(first) as before, opened(second) as after:
        return compare(before, after, _same(first, second))


def _same(first: DatasetVersion, second: DatasetVersion) -> Pairs | None:
    """The same rows, where both versions were edited out of a third, or one out of the other."""
    line, other = _line(first), _line(second)
    places = {version.data_key: place for place, version in enumerate(other)}
    for place, version in enumerate(line):
        if (end := places.get(version.data_key)) is not None:
            return linked(_rows(line[:place], version), _rows(other[:end], version), version.rows)
    return None


def _line(version: DatasetVersion) -> list[DatasetVersion]:
    """The version and those that it was edited out of, one out of the other."""
    found = [version]
    while found[-1].parent and (found[-1].lineage_key or found[-1].data_key == found[-1].parent.data_key):
        found.append(found[-1].parent)
    return found


def _rows(line: list[DatasetVersion], origin: DatasetVersion) -> Ints:
    """Which row of the origin each row of the first version of a line was."""
    rows: Ints = np.arange(line[0].rows if line else origin.rows)
    for version in line:
        if version.lineage_key:
            with storage().open(version.lineage_key) as file:
                rows = read_lineage(file)[rows]
    return rows


def _cells(version: DatasetVersion, rows: Ints) -> list[dict[str, Any] | None]:
    if not len(rows) or rows[0] < 0:
        return [None] * len(rows)
    with opened(version) as data:
        columns = [name for name in data.schema.names if name not in _LEFT_OUT]
        return [_shortened(row) for row in data.at(rows.tolist(), columns)]


def _shortened(cells: dict[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value[:_CELL_CHARS]}…" if isinstance(value, str) and len(value) > _CELL_CHARS else value
        for name, value in cells.items()
    }
