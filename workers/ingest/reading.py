"""The rows of a table by the roles of their columns: one with a problem goes to errors.csv, the others are kept.

Rows are read and judged in batches, column by column; what is said of a row is made for those with a problem only.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from workers.contracts.errors import JobError
from workers.ingest import cells, label_sets
from workers.ingest.ahead import ahead
from workers.ingest.coding import Places, coded, each
from workers.ingest.context import READ_SHARE, Import
from workers.ingest.label_sets import LabelSet
from workers.ingest.records import Batch, Problem, Record, Table
from workers.ingest.splits import CODES, UNDECIDED, Codes

MAX_LABEL_CHARS = 400
Mask = npt.NDArray[np.bool_]
# The line that a row begins on, in frames of accepted rows.
LINE = "line"
# In the place of the split in rows that are added to others which have theirs. No file holds it but by intent.
UNDECIDED_CELL = "\ue000undecided"
_NO_SPLIT = -2


class Faults:
    """Which rows of a batch cannot be used, and why. Of several problems of a row the first one that is told counts."""

    def __init__(self, rows: int) -> None:
        self.bad: Mask = np.zeros(rows, np.bool_)
        self.problems: dict[int, Problem] = {}

    def add(self, bad: Mask | pl.Series, problem: Callable[[int], Problem]) -> None:
        """Rows that are bad, and what to say of one, by its place in the batch."""
        rows = np.asarray(bad, np.bool_) & ~self.bad
        if rows.any():
            self.problems |= {row: problem(row) for row in np.flatnonzero(rows).tolist()}
            self.bad |= rows


# What the cells of rows mean: columns of values, one per row, whatever they are in rows that are told as faults.
Parse = Callable[[pl.DataFrame, Faults], pl.DataFrame]


def accepted(ctx: Import, table: Table, parse: Parse) -> Iterator[pl.DataFrame]:
    """The rows that can be used: what they mean, and their `line`. The others are rejected.

    Raises JobError too_many_rows.
    """
    count = 0
    for batch, parsed, faults in ahead(_judged(table, parse)):
        count += batch.records
        if count > ctx.limits.max_rows:
            raise JobError("too_many_rows", f"The file has more than {ctx.limits.max_rows:,} rows.")
        ctx.progress.report(READ_SHARE * table.fraction(), "Reading rows")
        for record, problem in _rejected(batch, faults):
            ctx.reject(record, problem)
        yield parsed.filter(pl.Series(~faults.bad)) if faults.problems else parsed


def _judged(table: Table, parse: Parse) -> Iterator[tuple[Batch, pl.DataFrame, Faults]]:
    for batch in ahead(table.batches()):
        faults = Faults(len(batch.lines))
        yield batch, parse(batch.cells, faults).with_columns(pl.Series(LINE, batch.lines)), faults


def _rejected(batch: Batch, faults: Faults) -> list[tuple[Record, Problem]]:
    """The records of a batch that cannot be used, in the file's order."""
    unread = [(record, record.problem) for record in batch.rejects if record.problem]
    rows = sorted(faults.problems)
    records = batch.cells[rows].rows() if rows else []
    bad = [
        (Record(int(batch.lines[row]), list(map(_shown, fields))), faults.problems[row])
        for row, fields in zip(rows, records, strict=True)
    ]
    return sorted([*unread, *bad], key=lambda one: one[0].line)


def _shown(cell: str) -> str:
    return "" if cell == UNDECIDED_CELL else cell


def label(cell: str, separator: str | None) -> str | LabelSet | Problem:
    """The label or labels in a cell. `separator` parts labels ("": only lists hold several); None where a row has one
    label, which may stand in a list alone."""
    if not cell or cell.isspace():
        return Problem("label_missing", "The label is empty.")
    several = label_sets.read(cell, separator or "")
    if separator is None and several is not None:
        if len(several) != 1:
            message = f"The label is a list of {len(several)}; the other rows have one label each."
            return Problem("label_list", message, value=cell)
        (cell,), several = several, None
    for one in (cells.name(cell),) if several is None else several:
        if len(one) > MAX_LABEL_CHARS:
            message = f"The label has {len(one):,} characters; {MAX_LABEL_CHARS} are allowed."
            return Problem("text_too_long", message, value=one)
    return cells.name(cell) if several is None else several


def blank_as_none(labels: pl.Series) -> pl.Series:
    """Cells of labels where a blank one says that the row has none of several labels."""
    return (
        labels.to_frame()
        .select(pl.when(pl.first().str.strip_chars() == "").then(pl.lit(label_sets.NO_LABELS)).otherwise(pl.first()))
        .to_series()
        .alias(labels.name)
    )


def target(
    mapping: dict[str, str], rows: pl.DataFrame, faults: Faults, separator: str | None = None
) -> dict[str, pl.Series]:
    """What a classifier is to learn of rows: cells that hold a `label` (see there) and, if the file gives it, the
    `split`."""
    column = mapping["label"]
    labels = coded(rows[column])
    places, found = each(labels, lambda cell: label(cell, separator))
    problems = {place: one._replace(column=column) for place, one in enumerate(found) if isinstance(one, Problem)}
    faults.add(np.isin(places, list(problems)), lambda row: problems[int(places[row])])
    return {"label": labels, **given_split(mapping, rows, faults)}


def targets(
    rows: pl.DataFrame, separator: str | None = None
) -> tuple[list[str | LabelSet], Places, npt.NDArray[np.int64], Codes | None]:
    """Of accepted rows the labels in order of appearance, each row's place among them, the lines and given splits."""
    places, found = each(rows["label"], lambda cell: label(cell, separator))
    labels = [one for one in found if not isinstance(one, Problem)]
    given = rows["split"].to_numpy() if "split" in rows.columns else None
    return labels, places, rows[LINE].to_numpy(), given


def given_split(mapping: dict[str, str], rows: pl.DataFrame, faults: Faults) -> dict[str, pl.Series]:
    """The split that the file gives each row, as its code; none where the file has no such column."""
    column = mapping.get("split")
    if column is None:
        return {}
    places, found = each(rows[column], split_code)
    codes: Codes = np.array(found, np.int8)[places]
    message = "The split is not train, validation or test."
    faults.add(codes == _NO_SPLIT, lambda row: Problem("split_invalid", message, column, rows[column][row]))
    return {"split": pl.Series(codes)}


def split_code(cell: str) -> int:
    """The code of a split as a cell names it, splits.UNDECIDED for UNDECIDED_CELL; -2 for no split."""
    if cell == UNDECIDED_CELL:
        return UNDECIDED
    split = cells.split(cell)
    return _NO_SPLIT if split is None else CODES[split]
