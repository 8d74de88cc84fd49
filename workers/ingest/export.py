"""A dataset version as a file that imports again to the very same rows: CSV, or a zip of images with a list of labels;
or Parquet, images as Hugging Face's datasets writes them.

Cells of CSV are safe to open in a spreadsheet, as those of errors.csv are; the first column's name tells the importer
to take that back (see workers.ingest.rejects).
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.ingest.parquet_out import OURS
from workers.ingest.rejects import EXPORTED, neutralise

Source = str | Path | BinaryIO
_BATCH_ROWS: Final = 1000
_BATCH_IMAGES: Final = 16
_GROUP_ROWS: Final = 65_536
_EXPORTED: Final = ("image", "text", "text_pair", "user", "item", "rating", "timestamp", "label", "split")
LIST: Final = "metadata.csv"
# In a zip, times before 1980 cannot be told; the same time always makes the same bytes.
_TIME: Final = (1980, 1, 1, 0, 0, 0)


def csv_of(source: Source) -> Iterator[bytes]:
    """The rows of a version's data.parquet that holds no images, as UTF-8 CSV with \\r\\n."""
    with pq.ParquetFile(source, pre_buffer=False) as file:
        # A set of labels stands in `label` as JSON.
        names = [name for name in file.schema_arrow.names if name not in (*OURS, "values", "labels")]
        values = _values(file.schema_arrow)
        yield _lines([[EXPORTED, *names, *values]])
        for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
            rows = batch.to_pylist()
            yield _lines(
                [row["row"], *(row[name] for name in names), *(row["values"][name] for name in values)] for row in rows
            )


def zip_of(source: Source) -> Iterator[bytes]:
    """The images of a version's data.parquet as they were uploaded, and metadata.csv with their labels and splits."""
    out = _Pipe()
    listed = [_lines([[EXPORTED, "file_name", "label", "split"]])]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive, pq.ParquetFile(source, pre_buffer=False) as file:
        columns = ["row", "name", "label", "split", "image"]
        for batch in file.iter_batches(_BATCH_IMAGES, columns=columns, use_threads=False):
            for row in batch.to_pylist():
                archive.writestr(zipfile.ZipInfo(row["name"], _TIME), row["image"])
                listed.append(_lines([[row["row"], row["name"], row["label"], row["split"]]]))
                yield out.take()
        archive.writestr(zipfile.ZipInfo(LIST, _TIME), b"".join(listed), zipfile.ZIP_DEFLATED)
    yield out.take()


def parquet_of(source: Source) -> Iterator[bytes]:
    """The rows of a version's data.parquet as the columns that people know, without row numbers and hashes."""
    out = _Pipe()
    with pq.ParquetFile(source, pre_buffer=False) as file:
        schema = file.schema_arrow
        names = [name for name in schema.names if name in _EXPORTED]
        columns = [*names, *(["name"] if "image" in names else []), *(["values"] if "values" in schema.names else [])]
        writer = None
        for batch in file.iter_batches(_BATCH_IMAGES if "image" in names else _GROUP_ROWS, columns=columns):
            table = pa.Table.from_batches([_plain(batch, names)])
            writer = writer or pq.ParquetWriter(pa.PythonFile(out, "w"), table.schema, compression="zstd")
            writer.write_table(table)
            yield out.take()
        if writer:
            writer.close()
    yield out.take()


def _plain(batch: pa.RecordBatch, names: list[str]) -> pa.RecordBatch:
    found = {name: batch.column(name) for name in names}
    if "image" in found:
        found["image"] = pa.StructArray.from_arrays([found["image"], batch.column("name")], ["bytes", "path"])
    if "timestamp" in found:
        found["timestamp"] = found["timestamp"].cast(pa.timestamp("s", "UTC"))
    if "values" in batch.schema.names:
        values = batch.column("values")
        found |= {field.name: values.field(field.name) for field in values.type}
    return pa.RecordBatch.from_pydict(found)


def _values(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema.field("values").type] if "values" in schema.names else []


def _lines(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        # Ratings are float32: its shortest text reads back as the same number.
        return str(np.float32(value))
    return neutralise(str(value))


class _Pipe(io.RawIOBase):
    """A file that is only written to, and hands out what has been written since."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Keep the bytes until they are taken."""
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Everything since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
