"""Columns that are final as soon as they are read, written as Parquet at once, and read again from there.

What is known only when all is read (splits, for one) is added to the same file at the end. So texts, which are most of
a file, are packed while the rest of it is read, and lie on disk once.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.ingest import guard, parquet_out
from workers.ingest.hashing import ColumnsHash
from workers.ingest.parquet_join import add_columns
from workers.ingest.parquet_out import GroupWriter
from workers.ingest.stage import regrouped


class Late(Protocol):
    """Gives the columns that are added of some rows, by name."""

    def __call__(self, rows: slice) -> dict[str, pa.Array]: ...


class EarlyColumns:
    """Columns of all rows; `content` is their part of the version's hash."""

    def __init__(self, path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        """Write all tables."""
        self._path, self.names = path, schema.names
        self.content = ColumnsHash()
        # Where each row group ends, and before them 0.
        self._ends = [0]
        with GroupWriter(path, schema) as writer:
            for group in regrouped(batch for table in tables for batch in table.cast(schema).to_batches()):
                for name, texts in parquet_out.contents(group):
                    self.content.add_texts(name, texts)
                writer.add_group(group)
                self._ends.append(self._ends[-1] + group.num_rows)
        guard.give_back_memory()

    def __len__(self) -> int:
        return self._ends[-1]

    def groups(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The row groups, one after the other; only these columns are read."""
        with pq.ParquetFile(self._path, pre_buffer=False) as file:
            for index in range(file.metadata.num_row_groups):
                yield file.read_row_group(index, columns=columns, use_threads=False)

    def cells(self, column: str, rows: set[int]) -> dict[int, str]:
        """The text of some rows, by their place; only their row groups are read."""
        found: dict[int, str] = {}
        wanted = np.array(sorted(rows), np.int64)
        groups = np.searchsorted(self._ends, wanted, side="right") - 1
        with pq.ParquetFile(self._path, pre_buffer=False) as file:
            for index in np.unique(groups).tolist():
                cells = file.read_row_group(index, columns=[column], use_threads=False)[column]
                here = wanted[groups == index]
                texts = cells.take(pa.array(here - self._ends[index])).to_pylist()
                found |= zip(here.tolist(), texts, strict=True)
        return found

    def complete(self, path: Path, schema: pa.Schema, late: Late) -> None:
        """Add the other columns of the schema, and move the file to its place."""
        other = self._path.with_suffix(".late")
        with GroupWriter(other, pa.schema([field for field in schema if field.name not in self.names])) as writer:
            for start, end in zip(self._ends[:-1], self._ends[1:], strict=True):
                writer.add_group(pa.table(late(slice(start, end))))
        add_columns(self._path, other, schema)
        os.replace(self._path, path)
