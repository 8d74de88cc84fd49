"""Parts of the answered file, in its own format, written one after the other and joined at the end."""

import csv
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from workers.batch.answers import Answers
from workers.batch.sources import Block, ParquetSource, Source, cell
from workers.contracts.job import TableFormat
from workers.ingest.cells import cell_text
from workers.ingest.rejects import neutralise

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
    def add(self, block: Block, answers: Sequence[list[Any]]) -> None:
        """Write a block's rows, each with its answer's cells."""

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
        self._stream = open(path, "w", encoding="utf-8", errors="replace", newline="")  # noqa: SIM115
        delimiter = self._source.delimiter if len(self._source.delimiter) == 1 else ","
        self._writer = csv.writer(self._stream, delimiter=delimiter, lineterminator="\n")
        if first:
            self._writer.writerow(map(neutralise, [*self._source.columns, *self._answers.names]))

    def add(self, block: Block, answers: Sequence[list[Any]]) -> None:
        columns = self._source.columns
        rows = cells_of(block, columns)
        if any(isinstance(kind, pa.ListType) for kind in self._answers.types):
            answers = [[cell(value) for value in answer] for answer in answers]
        self._writer.writerows(
            [neutralise(value) if value.__class__ is str else value for whole in (row, answer) for value in whole]
            for row, answer in zip(rows, answers, strict=True)
        )

    def close(self) -> None:
        self._stream.close()


class JsonWriter(Writer):
    """JSON Lines: the row's object with the answer's fields added."""

    def open(self, path: Path, *, first: bool) -> None:
        self._stream = open(path, "wb")  # noqa: SIM115

    def add(self, block: Block, answers: Sequence[list[Any]]) -> None:
        columns, names = self._source.columns, self._answers.names
        rows = block.table.to_pylist() if block.table is not None else block.rows
        lines = []
        for row, answer in zip(rows, answers, strict=True):
            content = row if isinstance(row, dict) else dict(zip(columns, row, strict=True))
            lines.append(orjson.dumps({**content, **dict(zip(names, answer, strict=True))}, default=cell_text))
        self._stream.write(b"\n".join(lines) + b"\n")

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

    def add(self, block: Block, answers: Sequence[list[Any]]) -> None:
        if block.table is not None:
            own = list(block.table.columns)
        else:
            rows = [list(map(_text_or_none, row)) for row in cells_of(block, self._source.columns)]
            own = [pa.array(values, pa.string()) for values in zip(*rows, strict=True)]
        columns = zip(zip(*answers, strict=True), self._answers.types, strict=True)
        added = [pa.array(values, kind) for values, kind in columns]
        self._waiting.append(pa.RecordBatch.from_arrays([*own, *added], schema=self._schema))
        self._rows += len(answers)
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


def cells_of(block: Block, columns: Sequence[str]) -> list[Sequence[Any]]:
    """A block's rows as cells in the columns' order."""
    rows = block.table.to_pylist() if block.table is not None else block.rows
    if rows and isinstance(rows[0], dict):
        return [[cell(row.get(column)) for column in columns] for row in rows]
    return rows


def _text_or_none(value: Any) -> str | None:
    return None if value is None else cell_text(value)
