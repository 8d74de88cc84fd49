"""Parquet files of ours: their columns, and how they are written."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS = 65_536

TEXT_SCHEMA = pa.schema(
    [("row", pa.int64()), ("split", pa.string()), ("hash", pa.uint64()), ("text", pa.string()), ("label", pa.string())]
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

# Columns of these are bytes of which each is as likely as any other.
_EVEN = (pa.binary(), pa.uint64())
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
    first = (("row", pa.int64()), ("split", pa.string()), ("hash", pa.uint64()), ("label", pa.string()))
    return pa.schema([*first, pa.field("values", pa.struct(fields))])


def contents(rows: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """What rows of texts, images or tables are beside their labels, by columns of text; of images their digests."""
    if "image" in rows.schema.names:
        yield "hash", rows["hash"]
    yield from ((name, rows[name]) for name in ("text", "text_pair") if name in rows.schema.names)
    if "values" in rows.schema.names:
        columns = zip(rows.schema.field("values").type, rows["values"].combine_chunks().flatten(), strict=True)
        yield from ((f"values.{field.name}", pa.chunked_array([cells])) for field, cells in columns)


class GroupWriter:
    """Writes tables, each as a row group of at most 65,536 rows.

    Columns of texts that are `coded` come as dictionaries, and are written without a look at any text.
    """

    def __init__(self, path: Path, schema: pa.Schema, coded: Collection[str] = ()) -> None:
        for name in coded:
            schema = schema.set(schema.get_field_index(name), pa.field(name, pa.dictionary(pa.int32(), pa.string())))
        self._schema = schema
        # What lies close to what is before it.
        steady = {name: "DELTA_BINARY_PACKED" for name in ("row", "timestamp") if name in schema.names}
        # Encoded images do not compress, nor do hashes, nor differences; a page per few images lets one be read without
        # its row group.
        tight = {field.name for field in schema if field.type in _EVEN or field.name in steady}
        packing: Any = {_path(field): "none" if field.name in tight else "zstd" for field in schema}
        # Most users of a group of rows are different.
        repeated = {"split", "label", "labels", "item", "rating", "format", "group", *coded}
        dictionary: Any = [_path(field) for field in schema if field.name in repeated]
        if "values" in schema.names:
            # Cells of a table repeat, and compress.
            packing, dictionary, steady = "zstd", True, {}
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
            # Whoever reads them is to get texts.
            store_schema=not coded,
        )

    def add_group(self, table: pa.Table) -> None:
        """A whole row group."""
        if table.num_rows:
            self._writer.write_table(table.select(self._schema.names).cast(self._schema), row_group_size=GROUP_ROWS)

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()

    def __enter__(self) -> "GroupWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _path(field: pa.Field) -> str:
    """What Parquet calls the one column of a field."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def column_types(schema: pa.Schema) -> list[dict[str, str]]:
    """[{"name", "type"}] for people: text, integer, number, time, image."""
    names = {"image": "image", "timestamp": "time"}
    kinds = {pa.string(): "text", pa.float32(): "number"}
    return [{"name": field.name, "type": names.get(field.name) or kinds.get(field.type, "integer")} for field in schema]
