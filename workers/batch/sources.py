"""The rows of a file in blocks: as they are, for the answered file, and what is asked of each."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from workers.batch.questions import Question, question, tried
from workers.batch.rows import ObjectRows, Rows, StoredRows, TextRows
from workers.batch.staging import Staging
from workers.contracts.job import BatchSpec, TableFormat
from workers.ingest import sniff, unpack
from workers.ingest.ahead import ahead
from workers.ingest.archives import open_archive
from workers.ingest.archives.entries import Archive, Entry
from workers.ingest.readers.json_lines import JsonLinesTable
from workers.ingest.readers.json_objects import flat
from workers.ingest.readers.parquet import ParquetTable
from workers.ingest.records import Batch, Problem, Table, printable

# Objects of a JSON Lines file that are read at once: so many, or so many characters.
_OBJECTS, _CHARS = 2048, 1 << 22


@dataclass(slots=True)
class Block:
    """Some rows that follow each other. `inputs` has the raw input of each row, None where `errors`, by the row's
    place, says why there is none. `fraction`: how much of the file has been read with them, 0 to 1."""

    rows: Rows
    inputs: list[object]
    errors: dict[int, str]
    fraction: float

    def __len__(self) -> int:
        return len(self.inputs)

    def slice(self, start: int, stop: int) -> "Block":
        """Those from `start` to before `stop`."""
        errors = {place - start: error for place, error in self.errors.items() if start <= place < stop}
        return Block(self.rows.slice(start, stop), self.inputs[start:stop], errors, self.fraction)

    def joined(self, later: "Block") -> "Block":
        """These and those that follow."""
        errors = {len(self) + place: error for place, error in later.errors.items()}
        rows = self.rows.joined([later.rows])
        return Block(rows, self.inputs + later.inputs, {**self.errors, **errors}, later.fraction)


class Source(ABC):
    """A file that is asked about. `columns` are its own; `format` is what the answers have where nothing else is said.

    `missing`: columns of the model that it does not have.
    """

    format: TableFormat
    columns: list[str]
    missing: tuple[str, ...] = ()
    delimiter = ","

    def blocks(self, size: int, start: int) -> Generator[Block]:
        """Blocks of `size` rows from row `start`, counted from 0, to the end; only the last may be smaller.

        What comes next is read while these are used.
        """
        read = 0.0
        rest: Block | None = None
        with closing(self._ahead(self._read(size, start))) as found:
            for some in found:
                rows = rest.joined(some) if rest else some
                whole = len(rows) // size * size
                for first in range(0, whole, size):
                    block = rows.slice(first, first + size)
                    block.fraction = read + (some.fraction - read) * (first + size) / len(rows)
                    yield block
                rest, read = rows.slice(whole, len(rows)), some.fraction
        if rest:
            yield rest

    def _ahead(self, blocks: Iterator[Block]) -> Generator[Block]:
        """The same, read in a thread."""
        return ahead(blocks, steps=1)

    @abstractmethod
    def _read(self, size: int, start: int) -> Iterator[Block]:
        """All rows from row `start` on, in as large blocks as memory allows; those that are large, `size` at once."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


def open_source(staging: Staging, spec: BatchSpec, manifest: dict[str, object]) -> Source:
    """`inputs/source` as rows for the model of this manifest; packed tables are unpacked. Raises JobError."""
    format = sniff.sniff(staging.source, staging.filename)
    if spec.kind == "image" and format in sniff.ARCHIVES:
        return ArchiveSource(open_archive(staging.source, format, spec.limits), spec)
    table = unpack.open_file(staging, unpack.unpacked(staging, staging.source, staging.filename), spec.options)
    try:
        asked = question(spec, manifest, table.columns, table.head)
    except BaseException:
        table.close()
        raise
    for kind, source in ((ParquetTable, ParquetSource), (JsonLinesTable, JsonSource)):
        if isinstance(table, kind):
            return source(table, asked)  # type: ignore[arg-type]  # of this kind
    return TextSource(table, asked)


class TextSource(Source):
    """CSV and TSV, sheets and lists of JSON objects. Cells come as text; a row with too few or too many of them has an
    error."""

    def __init__(self, table: Table, asked: Question) -> None:
        self._table, self._asked = table, asked
        self.format = "jsonl" if table.format == "json" else "csv"
        self.columns, self.missing = table.columns, asked.missing
        self.delimiter = str(table.facts.get("delimiter") or ",")

    def _read(self, size: int, start: int) -> Iterator[Block]:
        for batch in self._table.batches():
            block = self._block(batch)
            skipped = min(start, len(block))
            start -= skipped
            yield block.slice(skipped, len(block)) if skipped else block

    def _block(self, batch: Batch) -> Block:
        """Good records and bad ones in the file's order, which batches keep by lines."""
        frame, bad = batch.cells, np.zeros(0, np.int64)
        if batch.rejects:
            whole = [self._whole(record.fields) for record in batch.rejects]
            frame = pl.concat([frame, pl.DataFrame(whole, frame.schema, orient="row")])
            lines = np.concatenate([batch.lines, [record.line for record in batch.rejects]])
            order = np.argsort(lines, kind="stable")
            frame, bad = frame[order], np.flatnonzero(order >= len(batch.lines))
        inputs, errors = tried(self._asked.ask, *(frame[column].to_list() for column in self._asked.columns))
        for place, record in zip(bad.tolist(), batch.rejects, strict=True):
            if record.problem:
                inputs[place], errors[place] = None, record.problem.message
        return Block(TextRows(frame), inputs, errors, self._table.fraction())

    def _whole(self, fields: Sequence[str]) -> list[str]:
        """As many cells as columns: what is too much stays in the last one."""
        width = len(self.columns)
        if len(fields) > width:
            fields = [*fields[: width - 1], self.delimiter.join(fields[width - 1 :])]
        return [printable(cell) for cell in fields] + [""] * (width - len(fields))

    def close(self) -> None:
        self._table.close()


class JsonSource(Source):
    """JSON Lines. Objects stay whole, with fields that no column is named after; a line that is none has an error."""

    format = "jsonl"

    def __init__(self, table: JsonLinesTable, asked: Question) -> None:
        self._table, self._asked = table, asked
        self.columns, self.missing = table.columns, asked.missing

    def _read(self, size: int, start: int) -> Iterator[Block]:
        texts: list[str] = []
        values: list[dict[str, object]] = []
        problems: dict[int, str] = {}
        chars = 0
        for text, content in itertools.islice(self._table.objects(), start, None):
            if isinstance(content, Problem):
                problems[len(texts)] = content.message
                content = {"line": printable(text)}
                text = orjson.dumps(content).decode()
            texts.append(text)
            values.append(flat(content))
            chars += len(text)
            if len(texts) == _OBJECTS or chars > _CHARS:
                yield self._block(texts, values, problems)
                texts, values, problems, chars = [], [], {}, 0
        if texts:
            yield self._block(texts, values, problems)

    def _block(self, texts: list[str], values: list[dict[str, object]], problems: dict[int, str]) -> Block:
        columns = ([found.get(name) for found in values] for name in self._asked.columns)
        inputs, errors = tried(self._asked.ask, *columns)
        return Block(ObjectRows(self.columns, texts, values), inputs, {**errors, **problems}, self._table.fraction())

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
        self._asked_names = [own[column] for column in asked.columns]

    @property
    def schema(self) -> pa.Schema:
        """Of the file."""
        return self._table.schema

    def _read(self, size: int, start: int) -> Iterator[Block]:
        for batch in self._table.stored(start):
            columns = (self._table.values(batch, name) for name in self._asked_names)
            yield Block(StoredRows(batch), *tried(self._asked.ask, *columns), self._table.fraction())

    def close(self) -> None:
        self._table.close()


@dataclass(slots=True)
class ArchiveSource(Source):
    """A zip or tar of images: a row per file, whatever it holds; only junk of operating systems is none."""

    _archive: Archive
    _spec: BatchSpec
    columns: list[str] = field(default_factory=lambda: ["file"])

    format = "csv"

    def _read(self, size: int, start: int) -> Iterator[Block]:
        entries = itertools.islice((entry for entry in self._archive if not entry.is_junk), start, None)
        names: list[str] = []
        inputs: list[object] = []
        errors: dict[int, str] = {}
        # One by one: an entry can be read only until the next one is asked for.
        for entry in entries:
            content = self._content(entry)
            if isinstance(content, Problem):
                errors[len(names)] = content.message
            names.append(printable("/".join(entry.parts) or entry.name))
            inputs.append(None if isinstance(content, Problem) else content)
            if len(names) == size:
                yield self._block(names, inputs, errors)
                names, inputs, errors = [], [], {}
        if names:
            yield self._block(names, inputs, errors)

    def _block(self, names: list[str], inputs: list[object], errors: dict[int, str]) -> Block:
        return Block(TextRows(pl.DataFrame({"file": names})), inputs, errors, self._archive.fraction())

    def _ahead(self, blocks: Iterator[Block]) -> Generator[Block]:
        """Images may be large: no more of them are in memory than are predicted."""
        yield from blocks

    def _content(self, entry: Entry) -> bytes | Problem:
        if entry.problem:
            return entry.problem
        return entry.read(self._spec.limits.max_image_bytes) or Problem("image_truncated", "The file is empty.")

    def close(self) -> None:
        self._archive.close()
