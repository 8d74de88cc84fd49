"""Parquet files of ours: written in row groups of bounded size, read back group by group."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_ROWS = 65_536
# Small enough that showing one image reads little, large enough that training reads long runs.
_GROUP_BYTES = 16 * 2**20

TEXT_SCHEMA = pa.schema(
    [("row", pa.int64()), ("split", pa.string()), ("hash", pa.string()), ("text", pa.string()), ("label", pa.string())]
)
IMAGE_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("split", pa.string()),
        ("hash", pa.string()),
        ("image", pa.binary()),
        ("label", pa.string()),
        ("name", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
    ]
)
_TEXT_PAIR = pa.field("text_pair", pa.string())
# Beside the columns of a kind, where some rows are nearly the same: those with equal groups are, others have null.
GROUP = pa.field("group", pa.string())
# What is not the rows' own: numbers and names that an import gave them.
OURS = ("row", "hash", "group")

_LABELS = pa.field("labels", pa.list_(pa.string()))


def text_schema(*, pairs: bool) -> pa.Schema:
    """The columns of texts, or of pairs of them."""
    return TEXT_SCHEMA.insert(TEXT_SCHEMA.get_field_index("text") + 1, _TEXT_PAIR) if pairs else TEXT_SCHEMA


def with_labels(schema: pa.Schema, columns: list[dict[str, str]]) -> tuple[pa.Schema, list[dict[str, str]]]:
    """Schema and columns (see `column_types`) of rows that have several labels each: a list of them beside `label`."""
    place = schema.get_field_index("label") + 1
    described = {"name": _LABELS.name, "type": "labels"}
    return schema.insert(place, _LABELS), [*columns[:place], described, *columns[place:]]


def interaction_schema(*, rating: bool, timestamp: bool) -> pa.Schema:
    """The columns of a recommendation dataset."""
    schema = pa.schema(
        [
            ("row", pa.int64()),
            ("split", pa.string()),
            ("user", pa.string()),
            ("item", pa.string()),
        ]
    )
    if rating:
        schema = schema.append(pa.field("rating", pa.float32()))
    if timestamp:
        schema = schema.append(pa.field("timestamp", pa.int64()))
    return schema


def table_schema(columns: list[tuple[str, dict[str, str]]]) -> pa.Schema:
    """The columns of a tabular dataset: its own as fields of `values`, each with what it holds as its metadata."""
    fields = [pa.field(name, pa.string(), metadata=metadata) for name, metadata in columns]
    names = ("split", "hash", "label")
    return pa.schema(
        [("row", pa.int64()), *((name, pa.string()) for name in names), pa.field("values", pa.struct(fields))]
    )


class GroupWriter:
    """Writes rows, given one by one or as tables, into row groups of at most 65,536 rows and about 16 MB.

    `packed` False: what is only staged, to be read back once, is not compressed.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, packed: bool = True) -> None:
        self._schema = schema
        # Encoded images do not compress; a page per few of them lets one be read without its whole row group.
        packing: Any = {_path(field): "none" if field.type == pa.binary() else "zstd" for field in schema}
        # Most users of a group of rows are different.
        repeated = ("split", "label", "labels", "item", "rating", "format", "group")
        dictionary: Any = [_path(field) for field in schema if field.name in repeated]
        # What lies close to what is before it.
        steady = {name: "DELTA_BINARY_PACKED" for name in ("row", "timestamp") if name in schema.names}
        if "values" in schema.names:
            # Cells of a table repeat, and compress.
            packing, dictionary, steady = "zstd", True, {}
        if not packed:
            packing, dictionary, steady = "none", False, {}
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression=packing,
            use_dictionary=dictionary,
            column_encoding=steady or None,
            # Nobody looks for the least text of a row group.
            write_statistics=[field.name for field in schema if pa.types.is_primitive(field.type)],
            data_page_size=1 << 18,
            write_batch_size=16 if pa.binary() in schema.types else None,
        )
        self._rows: list[tuple[Any, ...]] = []
        self._tables: list[pa.Table] = []
        self._bytes = 0

    def add_table(self, table: pa.Table) -> None:
        """Rows as a table; they become row groups together with those before and after them."""
        self._tables.append(table.select(self._schema.names).cast(self._schema))
        rows = sum(one.num_rows for one in self._tables)
        size = sum(one.nbytes for one in self._tables)
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            whole = rows if size >= _GROUP_BYTES else rows - rows % _GROUP_ROWS
            together = pa.concat_tables(self._tables)
            self._writer.write_table(together.slice(0, whole), row_group_size=_GROUP_ROWS)
            self._tables = [together.slice(whole)]

    def add(self, row: tuple[Any, ...], size: int) -> None:
        """One row, values in the order of the schema; `size`: about how many bytes it takes."""
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def add_group(self, table: pa.Table) -> None:
        """A whole row group."""
        if table.num_rows:
            self._writer.write_table(table.select(self._schema.names).cast(self._schema), row_group_size=_GROUP_ROWS)

    def _flush(self) -> None:
        if self._rows:
            values = zip(*self._rows, strict=True)
            columns = [pa.array(column, field.type) for column, field in zip(values, self._schema, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema), row_group_size=_GROUP_ROWS)
        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables), row_group_size=_GROUP_ROWS)
        self._rows, self._tables = [], []
        self._bytes = 0

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()

    def __enter__(self) -> "GroupWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _path(field: pa.Field) -> str:
    """What Parquet calls the one column of a field."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def groups(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a file of ours, one after the other."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for index in range(file.metadata.num_row_groups):
            yield file.read_row_group(index, columns=columns, use_threads=False)


def column_types(schema: pa.Schema) -> list[dict[str, str]]:
    """[{"name", "type"}] for people: text, integer, number, time, image."""
    names = {"image": "image", "timestamp": "time"}
    kinds = {pa.string(): "text", pa.int64(): "integer", pa.int32(): "integer", pa.float32(): "number"}
    return [{"name": field.name, "type": names.get(field.name) or kinds[field.type]} for field in schema]


def cells_at(path: Path, column: str, rows: set[int]) -> dict[int, str]:
    """The text of some rows, by their place in the file; only their row groups are read."""
    found: dict[int, str] = {}
    if not rows:
        return found
    with pq.ParquetFile(path, pre_buffer=False) as file:
        start = 0
        for index in range(file.metadata.num_row_groups):
            end = start + file.metadata.row_group(index).num_rows
            here = [row for row in rows if start <= row < end]
            if here:
                cells = file.read_row_group(index, columns=[column], use_threads=False).column(0)
                found.update((row, _as_text(cells[row - start].as_py())) for row in here)
            start = end
    return found


def _as_text(cell: Any) -> str:
    """A cell of ours for people; of a table's row its cells."""
    return ", ".join(cell.values()) if isinstance(cell, dict) else str(cell)
