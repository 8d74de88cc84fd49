"""Rows that wait on disk until it is known what becomes of them, in an Arrow file: written and read as they lie in
memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from workers.ingest.parquet_out import GROUP_ROWS

_GROUP_BYTES = 16 * 2**20


class Stage:
    """Takes rows as tables and gives them back in groups of at most 65,536 rows and about 16 MB."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._writer = ipc.new_file(str(path), schema)
        # Where each batch in the file ends, and before them 0.
        self._ends = [0]

    def __len__(self) -> int:
        return self._ends[-1]

    def add_table(self, table: pa.Table) -> None:
        """Rows as a table."""
        for batch in table.select(self._schema.names).cast(self._schema).to_batches():
            self._writer.write_batch(batch)
            self._ends.append(self._ends[-1] + batch.num_rows)

    def close(self) -> None:
        """From here on rows can be read."""
        self._writer.close()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def groups(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The groups, one after the other; only these columns are read."""
        with self._open(columns or self._schema.names) as file:
            waiting: list[pa.RecordBatch] = []
            rows = size = 0
            for index in range(file.num_record_batches):
                waiting.append(file.get_batch(index))
                rows += waiting[-1].num_rows
                size += waiting[-1].nbytes
                while rows >= GROUP_ROWS or size >= _GROUP_BYTES:
                    group = pa.Table.from_batches(waiting)
                    yield group.slice(0, GROUP_ROWS)
                    waiting = group.slice(GROUP_ROWS).to_batches()
                    rows, size = sum(one.num_rows for one in waiting), sum(one.nbytes for one in waiting)
            if rows:
                yield pa.Table.from_batches(waiting)

    def cells(self, column: str, rows: set[int]) -> dict[int, str]:
        """The text of some rows, by their place; only their batches are read."""
        found: dict[int, str] = {}
        wanted = np.array(sorted(rows), np.int64)
        batches = np.searchsorted(self._ends, wanted, side="right") - 1
        with self._open([column]) as file:
            for index in np.unique(batches).tolist():
                cells = file.get_batch(index).column(0)
                for row in wanted[batches == index].tolist():
                    found[row] = _as_text(cells[row - self._ends[index]].as_py())
        return found

    def _open(self, columns: list[str]) -> ipc.RecordBatchFileReader:
        options = ipc.IpcReadOptions(included_fields=[self._schema.get_field_index(name) for name in columns])
        return ipc.open_file(pa.OSFile(str(self._path)), options=options)


def _as_text(cell: Any) -> str:
    """A cell for people; of a table's row its cells."""
    return ", ".join(cell.values()) if isinstance(cell, dict) else str(cell)
