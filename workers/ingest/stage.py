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
    """Takes rows, one by one or as tables, and gives them back in groups of at most 65,536 rows and about 16 MB."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._writer = ipc.new_file(str(path), schema)
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0
        # Where each batch in the file ends, and before them 0.
        self._ends = [0]

    def __len__(self) -> int:
        return self._ends[-1]

    def add(self, row: tuple[Any, ...], size: int) -> None:
        """One row, values in the order of the schema; `size`: about how many bytes it takes."""
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            values = zip(*self._rows, strict=True)
            columns = [pa.array(column, field.type) for column, field in zip(values, self._schema, strict=True)]
            self.add_table(pa.Table.from_arrays(columns, schema=self._schema))
            self._rows, self._bytes = [], 0

    def add_table(self, table: pa.Table) -> None:
        """Rows as a table."""
        for batch in table.select(self._schema.names).cast(self._schema).to_batches():
            self._writer.write_batch(batch)
            self._ends.append(self._ends[-1] + batch.num_rows)

    def close(self) -> None:
        """Write what is left. From here on rows can be read."""
        self._flush()
        self._writer.close()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def groups(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The groups, one after the other; only these columns are read."""
        with self._open(columns or self._schema.names) as file:
            group = file.schema.empty_table()
            for index in range(file.num_record_batches):
                group = pa.concat_tables([group, pa.Table.from_batches([file.get_batch(index)])])
                while group.num_rows >= GROUP_ROWS or group.nbytes >= _GROUP_BYTES:
                    yield group.slice(0, GROUP_ROWS)
                    group = group.slice(GROUP_ROWS)
            if group.num_rows:
                yield group

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
