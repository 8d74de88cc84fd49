"""JSON Lines: one object per line, as a stream."""

import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from workers.contracts.errors import JobError
from workers.ingest.cells import cell_text
from workers.ingest.lines import Lines
from workers.ingest.records import HEAD_RECORDS, Problem, Record, Table, printable, text_problem

# Columns are the fields of the first objects, in order of appearance.
_MAX_COLUMNS = 1000


class JsonLinesTable(Table):
    """A file of JSON objects, one per line. A field that an object lacks, or null, is a missing cell."""

    format = "jsonl"

    def __init__(self, stream: BinaryIO, encoding: str, max_field_chars: int) -> None:
        self._size = max(1, stream.seek(0, os.SEEK_END))
        stream.seek(0)
        self._stream = stream
        self._lines = Lines(stream, encoding, 4 * max_field_chars)
        self._numbered: Iterator[tuple[int, str]] = enumerate(self._lines, 1)
        self.facts = {"encoding": encoding}
        ahead = list(itertools.islice(self._numbered, HEAD_RECORDS))
        self.columns = _columns(line for _, line in ahead)
        if not self.columns:
            raise JobError("file_unreadable", "No line of the file is a JSON object.", evidence=_evidence(ahead))
        self._numbered = itertools.chain(ahead, self._numbered)
        self._ahead = list(itertools.islice(self._parsed(), HEAD_RECORDS))
        self.head = [record.fields for record in self._ahead if record.problem is None]

    def _parsed(self) -> Iterator[Record]:
        for number, line in self._numbered:
            if not line.isspace():
                yield _record(number, line, self.columns)

    def records(self) -> Iterator[Record]:
        """Every object, once."""
        ahead, self._ahead = self._ahead, []
        return itertools.chain(ahead, self._parsed())

    def fraction(self) -> float:
        """By bytes."""
        return min(1.0, self._lines.bytes_read() / self._size)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _evidence(numbered: list[tuple[int, str]]) -> str:
    for number, line in numbered:
        if not line.isspace():
            return f"Line {number}: {printable(line.strip()[:200])}"
    return ""


def _load(line: str) -> Any:
    """The line's value; None for what is no JSON."""
    try:
        return orjson.loads(line)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def _columns(lines: Iterator[str]) -> list[str]:
    names: dict[str, str] = {}
    for line in lines:
        value = _load(line)
        if isinstance(value, dict):
            names.update((name, "") for name in value if "\0" not in name)
    return list(names)[:_MAX_COLUMNS]


def _record(number: int, line: str, columns: list[str]) -> Record:
    raw = line.rstrip("\r\n")
    if problem := text_problem([raw]):
        return Record(number, [raw[:1000]], problem)
    value = _load(raw)
    if not isinstance(value, dict):
        what = "The line is no valid JSON." if value is None else "The line is JSON, but no object."
        return Record(number, [raw[:1000]], Problem("row_malformed", what, value=raw))
    fields: list[str] = []
    for name in columns:
        cell = value.get(name)
        if isinstance(cell, (dict, list)):
            # A nested value matters only where a role is mapped to it, so it is told as text.
            cell = orjson.dumps(cell).decode()
        fields.append(cell_text(cell))
    return Record(number, fields, text_problem(fields))
