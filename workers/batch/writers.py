"""Parts of the answered file, in its own format, written one after the other and joined at the end."""

import csv
import io
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from workers.batch.answers import Answers
from workers.batch.rows import Rows, arrow, lines_of
from workers.batch.sources import ParquetSource, Source
from workers.contracts.job import TableFormat
from workers.ingest.rejects import neutralise, neutralised

# Rows that a row group of Parquet has at least, where there are so many.
_GROUP_ROWS = 16_384


class Writer(ABC):
    """Writes parts. `first`: the part that begins the file."""

    def __init__(self, source: Source, answers: Answers) -> None:
        self._source, self._answers = source, answers

    @abstractmethod
    def open(self, path: Path, *, first: bool) -> None:
        """Begin a part."""

    @abstractmethod
    def add(self, rows: Rows, answers: pl.DataFrame) -> None:
        """Write rows, each with its answer."""

    @abstractmethod
    def close(self) -> None:
        """End the part: all of it is in the file."""

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """The whole file from its parts, which are gone afterwards as far as they are one with it."""
        if len(parts) == 1:
            os.replace(parts[0], target)
            return
        with open(target, "wb") as out:
            for part in parts:
                with open(part, "rb") as stream:
                    shutil.copyfileobj(stream, out, 1 << 20)


class CsvWriter(Writer):
    """With the file's own delimiter where that is one of CSV; UTF-8; lists as JSON; safe to open in a spreadsheet."""

    def open(self, path: Path, *, first: bool) -> None:
        self._stream = open(path, "wb")  # noqa: SIM115
        given = self._source.delimiter
        self._delimiter = given if len(given) == 1 and given.isascii() else ","
        if first:
            header = io.StringIO(newline="")
            names = map(neutralise, [*self._source.columns, *self._answers.names])
            csv.writer(header, delimiter=self._delimiter, lineterminator="\n").writerow(names)
            self._stream.write(header.getvalue().encode("utf-8", "replace"))

    def add(self, rows: Rows, answers: pl.DataFrame) -> None:
        added = [_as_json(column) if column.dtype == pl.List else column for column in answers]
        columns = [column.alias(str(place)) for place, column in enumerate([*rows.cells(), *added])]
        texts = pl.col(pl.String)
        # Nothing, not two quotes, stands for an empty text.
        cells = neutralised(pl.DataFrame(columns)).with_columns(pl.when(texts != "").then(texts))
        cells.write_csv(self._stream, include_header=False, separator=self._delimiter)

    def close(self) -> None:
        self._stream.close()


class JsonWriter(Writer):
    """JSON Lines: the row's object with the answer's fields added."""

    def open(self, path: Path, *, first: bool) -> None:
        self._stream = open(path, "wb")  # noqa: SIM115

    def add(self, rows: Rows, answers: pl.DataFrame) -> None:
        both = zip(rows.objects(self._answers.names), lines_of(answers), strict=True)
        self._stream.writelines(_one(own, answer) for own, answer in both)

    def close(self) -> None:
        self._stream.close()


class ParquetWriter(Writer):
    """Parquet: a Parquet file's own columns as they are, others as text."""

    def __init__(self, source: Source, answers: Answers) -> None:
        super().__init__(source, answers)
        if isinstance(source, ParquetSource):
            fields = list(source.schema)
        else:
            fields = [pa.field(name, pa.string()) for name in source.columns]
        added = [pa.field(name, kind) for name, kind in zip(answers.names, answers.types, strict=True)]
        self._schema = pa.schema([*fields, *added])

    def open(self, path: Path, *, first: bool) -> None:
        self._writer = pq.ParquetWriter(path, self._schema)
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, rows: Rows, answers: pl.DataFrame) -> None:
        added = [arrow(column, kind) for column, kind in zip(answers, self._answers.types, strict=True)]
        self._waiting.append(pa.RecordBatch.from_arrays([*rows.arrays(), *added], schema=self._schema))
        self._rows += len(rows)
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._rows = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def join(self, parts: Sequence[Path], target: Path) -> None:
        if len(parts) == 1:
            super().join(parts, target)
            return
        with pq.ParquetWriter(target, self._schema) as writer:
            for part in parts:
                with pq.ParquetFile(part) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group, use_threads=False))


WRITERS: dict[TableFormat, type[Writer]] = {"csv": CsvWriter, "jsonl": JsonWriter, "parquet": ParquetWriter}


def _as_json(column: pl.Series) -> pl.Series:
    texts = [None if values is None else orjson.dumps(values).decode() for values in column.to_list()]
    return pl.Series(texts, dtype=pl.String)


def _one(own: bytes, answer: bytes) -> bytes:
    """The line of an object with another's fields behind its own."""
    begun = own[:-1].rstrip()
    return b"%s%s%s\n" % (begun, b"" if begun == b"{" else b",", answer[1:])
