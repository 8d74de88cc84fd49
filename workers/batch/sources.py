"""The rows of a file in blocks: as they are, for the answered file, and what is asked of each."""

import contextlib
import heapq
import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from workers.batch.questions import Question, question
from workers.batch.staging import Staging
from workers.contracts.job import BatchSpec, TableFormat
from workers.inference.core import InputError
from workers.ingest import sniff, unpack
from workers.ingest.archives import open_archive
from workers.ingest.archives.entries import Archive, Entry
from workers.ingest.cells import cell_text
from workers.ingest.readers.json_lines import JsonLinesTable
from workers.ingest.readers.json_objects import flat
from workers.ingest.readers.parquet import ParquetTable
from workers.ingest.records import Problem, Table, printable


@dataclass(slots=True)
class Block:
    """Some rows that follow each other. `rows` are cells in the columns' order, or objects of a JSON Lines file.

    `inputs` has the raw input of each row, None where `errors` says why there is none. `table`: the rows of a Parquet
    file as they are stored.
    """

    rows: list[Any]
    inputs: list[Any]
    errors: list[str]
    table: pa.RecordBatch | None = None


class Source(ABC):
    """A file that is asked about. `columns` are its own; `format` is what the answers have where nothing else is said.

    `missing`: columns of the model that it does not have.
    """

    format: TableFormat
    columns: list[str]
    missing: tuple[str, ...] = ()
    delimiter = ","

    @abstractmethod
    def blocks(self, size: int, start: int) -> Iterator[Block]:
        """Blocks of `size` rows from row `start`, counted from 0, to the end; only the last may be smaller."""

    @abstractmethod
    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


def open_source(staging: Staging, spec: BatchSpec, manifest: dict[str, Any]) -> Source:
    """`inputs/source` as rows for the model of this manifest; packed tables are unpacked. Raises JobError."""
    format = sniff.sniff(staging.source, staging.filename)
    if spec.kind == "image" and format in sniff.ARCHIVES:
        return ArchiveSource(open_archive(staging.source, format, spec.limits), spec)
    table = unpack.open_file(staging, unpack.unpacked(staging, staging.source, staging.filename))
    try:
        asked = question(spec, manifest, table.columns, table.head)
    except BaseException:
        table.close()
        raise
    for kind, source in ((ParquetTable, ParquetSource), (JsonLinesTable, JsonSource)):
        if isinstance(table, kind):
            return source(table, asked)  # type: ignore[arg-type]  # of this kind
    return TextSource(table, asked)


def _ask(asked: Question, values: Sequence[Any]) -> tuple[Any, str]:
    """The raw input, or why there is none."""
    try:
        return asked.ask(values), ""
    except InputError as error:
        return None, error.message


class TextSource(Source):
    """CSV and TSV, sheets and lists of JSON objects. Cells come as text; a row with too few or too many of them has an
    error."""

    def __init__(self, table: Table, asked: Question) -> None:
        self._table, self._asked = table, asked
        self.format = "jsonl" if table.format == "json" else "csv"
        self.columns, self.missing = table.columns, asked.missing
        self.delimiter = str(table.facts.get("delimiter") or ",")
        places = [table.columns.index(column) for column in asked.columns]
        self._read: Callable[[Sequence[str]], Sequence[str]] = _reading(places)

    def blocks(self, size: int, start: int) -> Iterator[Block]:
        records = itertools.islice(self._records(), start, None)
        while found := list(itertools.islice(records, size)):
            yield self._block(found)

    def _records(self) -> Iterator[tuple[Sequence[str], Problem | None]]:
        """Of each record its cells, and what is wrong with it; in the file's order, which batches keep by lines."""
        for batch in self._table.batches():
            good = zip(*(column.to_list() for column in batch.cells), strict=True)
            if batch.rejects:
                rows = zip(batch.lines.tolist(), good, itertools.repeat(None), strict=False)
                merged = heapq.merge(rows, batch.rejects, key=operator.itemgetter(0))
                yield from ((fields, problem) for _, fields, problem in merged)
            else:
                yield from zip(good, itertools.repeat(None), strict=False)

    def _block(self, records: list[tuple[Sequence[str], Problem | None]]) -> Block:
        if not any(problem for _, problem in records):
            rows = [fields for fields, _ in records]
            with contextlib.suppress(InputError):  # whose it is, is found below
                return Block(rows, [self._asked.ask(self._read(fields)) for fields in rows], [""] * len(rows))
        block = Block([], [], [])
        for fields, problem in records:
            raw, error = (None, problem.message) if problem else _ask(self._asked, self._read(fields))
            block.rows.append(self._whole(fields) if problem else fields)
            block.inputs.append(raw)
            block.errors.append(error)
        return block

    def _whole(self, fields: Sequence[str]) -> list[str]:
        """As many cells as columns: what is too much stays in the last one."""
        width = len(self.columns)
        if len(fields) > width:
            fields = [*fields[: width - 1], self.delimiter.join(fields[width - 1 :])]
        return [printable(cell) for cell in fields] + [""] * (width - len(fields))

    def fraction(self) -> float:
        return self._table.fraction()

    def close(self) -> None:
        self._table.close()


class JsonSource(Source):
    """JSON Lines. Objects stay whole, with fields that no column is named after; a line that is none has an error."""

    format = "jsonl"

    def __init__(self, table: JsonLinesTable, asked: Question) -> None:
        self._table, self._asked = table, asked
        self.columns, self.missing = table.columns, asked.missing

    def blocks(self, size: int, start: int) -> Iterator[Block]:
        records = itertools.islice(self._table.objects(), start, None)
        while found := list(itertools.islice(records, size)):
            block = Block([], [], [])
            for content in found:
                if isinstance(content, Problem):
                    row, raw, error = {"line": printable(content.value)}, None, content.message
                else:
                    row, values = content, flat(content)
                    raw, error = _ask(self._asked, [values.get(column) for column in self._asked.columns])
                block.rows.append(row)
                block.inputs.append(raw)
                block.errors.append(error)
            yield block

    def fraction(self) -> float:
        return self._table.fraction()

    def close(self) -> None:
        self._table.close()


class ParquetSource(Source):
    """Parquet. Rows keep their types, and columns that only pass through are not looked at."""

    format = "parquet"

    def __init__(self, table: ParquetTable, asked: Question) -> None:
        self._table, self._asked = table, asked
        self.missing = asked.missing
        # The names as the file has them, which the readers' columns may not be.
        own = dict(zip(table.columns, table.names, strict=True))
        self.columns = table.schema.names
        self._read = [own[column] for column in asked.columns]

    @property
    def schema(self) -> pa.Schema:
        """Of the file."""
        return self._table.schema

    def blocks(self, size: int, start: int) -> Iterator[Block]:
        # Batches end at row groups; blocks do not.
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in self._table.stored(start):
            waiting.append(batch)
            rows += batch.num_rows
            while rows >= size:
                whole = _joined(waiting)
                yield self._block(whole.slice(0, size))
                waiting, rows = [whole.slice(size)], rows - size
        if rows:
            yield self._block(_joined(waiting))

    def _block(self, table: pa.RecordBatch) -> Block:
        block = Block([], [], [], table)
        values = [self._table.values(table, name) for name in self._read]
        for row in zip(*values, strict=True):
            raw, error = _ask(self._asked, row)
            block.inputs.append(raw)
            block.errors.append(error)
        return block

    def fraction(self) -> float:
        return self._table.fraction()

    def close(self) -> None:
        self._table.close()


def _reading(places: list[int]) -> Callable[[Sequence[str]], Sequence[str]]:
    """What takes the cells at some places of a row."""
    if len(places) == 1:
        return lambda fields: (fields[places[0]],)
    return operator.itemgetter(*places)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


@dataclass(slots=True)
class ArchiveSource(Source):
    """A zip or tar of images: a row per file, whatever it holds; only junk of operating systems is none."""

    _archive: Archive
    _spec: BatchSpec
    columns: list[str] = field(default_factory=lambda: ["file"])

    format = "csv"

    def blocks(self, size: int, start: int) -> Iterator[Block]:
        entries = itertools.islice((entry for entry in self._archive if not entry.is_junk), start, None)
        block = Block([], [], [])
        # One by one: an entry can be read only until the next one is asked for.
        for entry in entries:
            content = self._content(entry)
            bad = isinstance(content, Problem)
            block.rows.append(["/".join(entry.parts) or entry.name])
            block.inputs.append(None if bad else content)
            block.errors.append(content.message if isinstance(content, Problem) else "")
            if len(block.rows) == size:
                yield block
                block = Block([], [], [])
        if block.rows:
            yield block

    def _content(self, entry: Entry) -> bytes | Problem:
        if entry.problem:
            return entry.problem
        return entry.read(self._spec.limits.max_image_bytes) or Problem("image_truncated", "The file is empty.")

    def fraction(self) -> float:
        return self._archive.fraction()

    def close(self) -> None:
        self._archive.close()


def cell(value: Any) -> Any:
    """A value of a row as a cell of a table: nested values as JSON."""
    return orjson.dumps(value, default=cell_text).decode() if isinstance(value, (dict, list)) else value
