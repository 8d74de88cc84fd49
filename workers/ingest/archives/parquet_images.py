"""Parquet files of images, as Hugging Face's datasets writes them: a column of {bytes, path} and one of labels."""

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits
from workers.ingest import cells, columns, images
from workers.ingest.archives.entries import Archive, Entry, Ledger
from workers.ingest.cells import cell_text
from workers.ingest.image_lists import Lists
from workers.ingest.readers.joined import split_of
from workers.ingest.readers.parquet import as_unreadable, class_names, class_of, open_checked
from workers.ingest.records import Problem

_BATCH_ROWS = 16


class ParquetImages(Archive):
    """The images of some files, one after the other, below a folder; an image's number is its row. Labels go to
    `lists`, with the split of each or else `split`.

    Raises JobError file_unreadable, column_missing.
    """

    def __init__(
        self,
        files: list[tuple[str, Path]],
        limits: IngestLimits,
        lists: Lists,
        folder: str = "",
        split: str | None = None,
    ) -> None:
        self._below = f"{folder}/" if folder else ""
        self._split = split
        self._ledger = Ledger(limits)
        self._limits, self._lists = limits, lists
        self._files = [(name, open_checked(path, limits.max_rows)) for name, path in files]
        self._rows = sum(file.metadata.num_rows for _, file in self._files)
        self._done = 0
        for name, file in self._files:
            _image_column(file.schema_arrow, name)

    def __iter__(self) -> Iterator[Entry]:
        for name, file in self._files:
            schema = file.schema_arrow
            image, label = _image_column(schema, name), _label_column(schema, name)
            names, split = class_names(schema).get(label), split_of(name) or self._split
            given = next((one for one in columns.named("split", schema.names) if one not in (image, label)), None)
            wanted = [image, label, *([given] if given else [])]
            with as_unreadable():
                batches = file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False)
            while (batch := _next(batches)) is not None:
                labels = batch.column(label).to_pylist()
                labels = class_of(labels, names) if names else labels
                splits = batch.column(given).to_pylist() if given else [split] * batch.num_rows
                for found, value, part in zip(batch.column(image).to_pylist(), labels, splits, strict=True):
                    self._done += 1
                    self._ledger.entry()
                    yield self._entry(found, cell_text(value), cells.split(cell_text(part)) or split)

    def _entry(self, found: Any, label: str, split: str | None) -> Entry:
        data = found.get("bytes") if isinstance(found, dict) else found
        path = found.get("path") if isinstance(found, dict) else None
        # Paths of different files may be the same, or none.
        base = f"-{PurePath(path).name}" if isinstance(path, str) and path else ""
        name = f"{self._below}{self._done:08}{base}"
        self._lists.add(name, label, split)
        return _Row(self._done, name, data if isinstance(data, bytes) else b"")

    def fraction(self) -> float:
        """By rows."""
        return float(self._done / max(1, self._rows))

    def close(self) -> None:
        """Close all files."""
        for _, file in self._files:
            file.close()


class _Row(Entry):
    def __init__(self, number: int, name: str, data: bytes) -> None:
        super().__init__(number, name)
        self._data = data

    def write_to(self, target: BinaryIO, limit: int) -> Problem | None:
        """Copy the image's bytes."""
        if len(self._data) > limit:
            return Problem("image_too_large", f"The image has more than {limit:,} bytes.")
        target.write(self._data)
        return None


def _next(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    with as_unreadable():
        return next(batches, None)


def holds_images(path: Path) -> bool:
    """Whether a Parquet file has a column of images: {bytes, path}, or bytes that begin as an image does. Raises
    JobError file_unreadable."""
    file = open_checked(path, IngestLimits().max_rows)
    try:
        schema = file.schema_arrow
        return any(
            pa.types.is_struct(schema.field(name).type) or _begins_with_image(file, name)
            for name in _image_columns(schema)
        )
    finally:
        file.close()


def _begins_with_image(file: pq.ParquetFile, column: str) -> bool:
    """Whether the first bytes in a column are an image's."""
    with as_unreadable():
        batches = file.iter_batches(_BATCH_ROWS, columns=[column], use_threads=False)
        values = next(batches, None)
    return values is not None and any(images.magic(value) for value in values.column(0).to_pylist() if value)


def _image_columns(schema: pa.Schema) -> list[str]:
    types = pa.types
    structs = [one for one in schema if types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0]
    plain = [one for one in schema if types.is_binary(one.type) or types.is_large_binary(one.type)]
    return [str(one.name) for one in structs + plain]


def _image_column(schema: pa.Schema, name: str) -> str:
    if found := _image_columns(schema):
        return found[0]
    hint = "Write images as a column of {bytes, path}, as Hugging Face's datasets does."
    raise JobError("column_missing", "The Parquet file has no column of images.", hint=hint, evidence=name[:200])


def _label_column(schema: pa.Schema, name: str) -> str:
    classes = list(class_names(schema))
    named = columns.named("label", schema.names)
    for column in (*classes, *named):
        if schema.get_field_index(column) >= 0:
            return column
    raise JobError("column_missing", "The Parquet file has no column of labels.", evidence=name[:200])
