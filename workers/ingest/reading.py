"""The rows of a table by the roles of their columns: one with a problem goes to errors.csv, the others are kept."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from workers.contracts.errors import JobError
from workers.ingest import cells, label_sets
from workers.ingest.context import READ_SHARE, Import
from workers.ingest.label_sets import LabelSet
from workers.ingest.records import Problem, Record, Table

MAX_LABEL_CHARS = 400
Parsed = TypeVar("Parsed")
# What a row's cells mean, from the row and its cells by role, or what is wrong with them.
Parse = Callable[[Record, dict[str, str]], Parsed | Problem]


def accepted(
    ctx: Import, table: Table, mapping: dict[str, str], parse: Parse[Parsed]
) -> Iterator[tuple[Record, Parsed]]:
    """The rows that can be used, with what they mean; the others are rejected. Raises JobError too_many_rows."""
    place = {role: table.columns.index(column) for role, column in mapping.items()}
    for number, record in enumerate(table.records()):
        if number >= ctx.limits.max_rows:
            raise JobError("too_many_rows", f"The file has more than {ctx.limits.max_rows:,} rows.")
        if number % 1000 == 0:
            ctx.progress.report(READ_SHARE * table.fraction(), "Reading rows")
        parsed = record.problem or parse(record, {role: record.fields[column] for role, column in place.items()})
        if isinstance(parsed, Problem):
            ctx.reject(record, parsed)
        else:
            yield record, parsed


class Target(NamedTuple):
    """What a classifier is to learn of a row, and the split that the file gives it, if it gives any."""

    label: str | LabelSet
    split: str | None


def target(mapping: dict[str, str], cell: dict[str, str], separator: str | None = None) -> Target | Problem:
    """The label or labels and the split of a row. `separator` parts labels ("": only lists hold several); None where a
    row has one label."""
    given = cell["label"]
    if not given or given.isspace():
        return Problem("label_missing", "The label is empty.", mapping["label"])
    several = label_sets.read(given, separator or "")
    if separator is None and several is not None and len(several) != 1:
        message = f"The item has {len(several)} labels; such a dataset has one per item."
        return Problem("row_malformed", message, mapping["label"], given)
    for label in (cells.name(given),) if several is None else several:
        if len(label) > MAX_LABEL_CHARS:
            message = f"The label has {len(label):,} characters; {MAX_LABEL_CHARS} are allowed."
            return Problem("text_too_long", message, mapping["label"], label)
    split = given_split(mapping, cell)
    if isinstance(split, Problem):
        return split
    return Target(cells.name(given) if several is None or separator is None else several, split)


def given_split(mapping: dict[str, str], cell: dict[str, str]) -> str | Problem | None:
    """The split that the file gives a row; None where it has no such column."""
    if "split" not in cell:
        return None
    message = "The split is not train, validation or test."
    return cells.split(cell["split"]) or Problem("split_invalid", message, mapping["split"], cell["split"])
