"""JSON Lines: one object per line, as a stream."""

import itertools
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from workers.contracts.errors import JobError
from workers.ingest.lines import Lines
from workers.ingest.readers import json_objects
from workers.ingest.records import HEAD_RECORDS, Problem, Record, Table, printable


class JsonLinesTable(Table):
    """A file of JSON objects, one per line. A field that an object lacks, or null, is a missing cell."""

    format = "jsonl"

    def __init__(self, stream: BinaryIO, encoding: str, max_field_chars: int) -> None:
        self._size = max(1, stream.seek(0, os.SEEK_END))
        stream.seek(0)
        self._stream = stream
        self._lines = Lines(stream, encoding, 4 * max_field_chars)
        self._behind: Iterator[tuple[int, str]] = enumerate(self._lines, 1)
        self.facts = {"encoding": encoding}
        ahead = list(itertools.islice(self._behind, HEAD_RECORDS))
        self.columns = json_objects.columns(line for _, line in ahead)
        if not self.columns:
            raise JobError("file_unreadable", "No line of the file is a JSON object.", evidence=_evidence(ahead))
        self._ahead = ahead
        first = [json_objects.record(number, line, self.columns) for number, line in ahead if not line.isspace()]
        self.head = [record.fields for record in first if record.problem is None]

    def _numbered(self) -> Iterator[tuple[int, str]]:
        ahead, self._ahead = self._ahead, []
        return ((number, line) for number, line in itertools.chain(ahead, self._behind) if not line.isspace())

    def records(self) -> Iterator[Record]:
        """Every object, once."""
        return (json_objects.record(number, line, self.columns) for number, line in self._numbered())

    def objects(self) -> Iterator[tuple[str, dict[str, Any] | Problem]]:
        """Every line, without spaces around it, and its object or what is wrong with it; instead of `records`."""
        return ((line.strip(), json_objects.parse(line)) for _, line in self._numbered())

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
