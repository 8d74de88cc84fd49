"""Several tables of the same columns as one."""

import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from workers.ingest import cells
from workers.ingest.records import HEAD_RECORDS, Batch, Record, Table

_SPLIT = "split"
_WORD = re.compile(r"[^\W\d_]+")


def split_of(name: str) -> str | None:
    """The split that a file is named after: train.csv, test-00000-of-00002.parquet."""
    found = _WORD.match(PurePath(name).name)
    return cells.split(found[0]) if found else None


class JoinedTables(Table):
    """One table after the other. Lines count on: the second file's first line follows the first file's last record.

    Where every file is named after a split (train.csv, test.csv) and none has such a column, `split` is one more.
    `facts["files"]` says from which line on a file's are.
    """

    def __init__(self, named: list[tuple[str, Table]]) -> None:
        self._named = named
        names, tables = [name for name, _ in named], [table for _, table in named]
        self.format = tables[0].format
        self.facts: dict[str, Any] = {**tables[0].facts, "files": []}
        self.columns = list(tables[0].columns)
        splits = [split_of(name) for name in names]
        self._splits = splits if all(splits) and _SPLIT not in self.columns else [None] * len(named)
        if self._splits[0]:
            self.columns.append(_SPLIT)
        self._at = 0
        heads = zip(tables, self._splits, strict=True)
        rows = [_fields(fields, table, self.columns, split) for table, split in heads for fields in table.head]
        self.head = rows[:: max(1, len(rows) // HEAD_RECORDS)]

    def narrow(self, columns: list[str]) -> None:
        """Read only these columns."""
        self.columns = list(columns)
        for _, table in self._named:
            table.narrow([column for column in columns if column in table.columns])

    def records(self) -> Iterator[Record]:
        """Every record of every table."""
        before = last = 0
        for at, ((name, table), split) in enumerate(zip(self._named, self._splits, strict=True)):
            self._at = at
            self.facts["files"].append({"name": name, "first_line": before + 1})
            for record in table.records():
                last = before + record.line
                fields = record.fields
                if record.problem is None:
                    fields = _fields(fields, table, self.columns, split)
                yield Record(last, fields, record.problem)
            before = last

    def batches(self) -> Iterator[Batch]:
        """The same as `records`, many at once."""
        import polars as pl

        before = last = 0
        for at, ((name, table), split) in enumerate(zip(self._named, self._splits, strict=True)):
            self._at = at
            self.facts["files"].append({"name": name, "first_line": before + 1})
            for found in table.batches():
                cells = found.cells.with_columns(pl.lit(split).alias(_SPLIT)) if split else found.cells
                rejects = [record._replace(line=before + record.line) for record in found.rejects]
                ends = [*found.lines[-1:].tolist(), *(record.line for record in found.rejects[-1:])]
                last = max(last, before + max(ends, default=0))
                yield Batch(found.lines + before, cells.select(self.columns), rejects)
            before = last

    def fraction(self) -> float:
        """By tables, as if they were alike in size."""
        return (self._at + self._named[self._at][1].fraction()) / len(self._named)

    def close(self) -> None:
        """Close all."""
        for _, table in self._named:
            table.close()


def _fields(fields: list[str], table: Table, columns: list[str], split: str | None) -> list[str]:
    """A record's fields in the order of the joined columns."""
    if table.columns == columns:
        return fields
    cell = dict(zip(table.columns, fields, strict=True))
    return [cell.get(name, split or "") for name in columns]
