"""JSON Lines: one object per line, as a stream."""

import itertools
import os
from collections.abc import Iterator
from typing import BinaryIO

from workers.contracts.errors import JobError
from workers.ingest.lines import Lines
from workers.ingest.readers import json_objects
from workers.ingest.records import HEAD_RECORDS, Record, Table, printable


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
        self.columns = json_objects.columns(line for _, line in ahead)
        if not self.columns:
            raise JobError("file_unreadable", "No line of the file is a JSON object.", evidence=_evidence(ahead))
        self._numbered = itertools.chain(ahead, self._numbered)
        self._ahead = list(itertools.islice(self._parsed(), HEAD_RECORDS))
        self.head = [record.fields for record in self._ahead if record.problem is None]

    def _parsed(self) -> Iterator[Record]:
        for number, line in self._numbered:
            if not line.isspace():
                yield json_objects.record(number, line, self.columns)

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
