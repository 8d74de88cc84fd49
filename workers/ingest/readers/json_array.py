"""One JSON array of objects, as a stream: elements are told apart without reading the whole."""

import itertools
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from workers.contracts.errors import JobError
from workers.ingest.lines import decoded
from workers.ingest.readers import json_objects
from workers.ingest.records import CUT, HEAD_RECORDS, Problem, Record, Table, printable

_CHUNK = 1 << 16
# What changes where an element ends: in a string only its end and escapes do.
_OUTSIDE = re.compile(r'["\[\]{},]')
_INSIDE = re.compile(r'["\\]')


class JsonArrayTable(Table):
    """A file that is one array of objects. A record's line is the one that its object begins on."""

    format = "json"

    def __init__(self, stream: BinaryIO, encoding: str, max_field_chars: int) -> None:
        self._size = max(1, stream.seek(0, os.SEEK_END))
        stream.seek(0)
        self._stream = stream
        self._elements = elements(decoded(stream, encoding), 4 * max_field_chars)
        self.facts = {"encoding": encoding}
        ahead = list(itertools.islice(self._elements, HEAD_RECORDS))
        self.columns = json_objects.columns(element.text for element in ahead)
        if not self.columns:
            evidence = f"Line {ahead[0].line}: {printable(ahead[0].text.strip()[:200])}" if ahead else ""
            raise JobError("file_unreadable", "No element of the array is a JSON object.", evidence=evidence)
        self._elements = itertools.chain(ahead, self._elements)
        self._ahead = list(itertools.islice(self._parsed(), HEAD_RECORDS))
        self.head = [record.fields for record in self._ahead if record.problem is None]

    def _parsed(self) -> Iterator[Record]:
        for line, text, is_whole in self._elements:
            if is_whole:
                yield json_objects.record(line, text, self.columns)
            else:
                raw = printable(text.strip())
                message = "The array ends before this, or a bracket or a quote before it is never closed."
                yield Record(line, [raw[:1000]], Problem("row_malformed", message, value=raw))

    def records(self) -> Iterator[Record]:
        """Every element, once."""
        ahead, self._ahead = self._ahead, []
        return itertools.chain(ahead, self._parsed())

    def fraction(self) -> float:
        """By bytes."""
        return min(1.0, self._stream.tell() / self._size)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Element(NamedTuple):
    """An element's text, the line it begins on, and whether it ends: False where the file does before it."""

    line: int
    text: str
    is_whole: bool


class _Collector:
    """Puts an element together out of pieces; counts lines."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._line = 1
        self._begin()

    def _begin(self) -> None:
        self._parts: list[str] = []
        self._chars = self._newlines = 0

    def add(self, text: str) -> None:
        """More of the element; behind `max_chars` it is cut, and marked so once."""
        left = self._max_chars - self._chars
        if left >= 0:
            self._parts.append(text if len(text) <= left else text[:left] + CUT)
        self._chars += len(text)
        self._newlines += text.count("\n")

    def end(self, is_whole: bool) -> Iterator[Element]:
        """The element, unless it is blank; the next one begins."""
        text = "".join(self._parts)
        begins = self._line + text[: len(text) - len(text.lstrip())].count("\n")
        self._line += self._newlines
        self._begin()
        if text.strip():
            yield Element(begins, text, is_whole)


def elements(pieces: Iterator[str], max_chars: int) -> Iterator[Element]:
    """The elements of the array that a text is. What stands behind the array is one more, that does not end.

    An element longer than `max_chars` is cut there and marked by CUT.
    """
    element = _Collector(max_chars)
    depth, in_string = 0, False
    place = 0
    for piece in pieces:
        start = 0
        while match := (_INSIDE if in_string else _OUTSIDE).search(piece, place):
            place = match.end()
            mark = match[0]
            if in_string:
                # An escape takes the next character along, which may be the first of the next piece.
                place += mark == "\\"
                in_string = mark == "\\"
                continue
            depth += (mark in "[{") - (mark in "]}")
            if mark == '"':
                in_string = True
            elif (mark == "[" and depth == 1) or (mark == "," and depth == 1) or (mark in "]}" and depth <= 0):
                # The array's own brackets and commas belong to no element.
                element.add(piece[start : place - 1])
                start = place
                depth = max(depth, 0)
                yield from element.end(is_whole=True)
        element.add(piece[start:])
        place = max(0, place - len(piece))
    yield from element.end(is_whole=False)
