"""The physical lines of a text file, decoded, with bounded memory and no byte refused."""

import codecs
import io
from collections.abc import Iterator
from typing import BinaryIO

from workers.ingest.records import CUT, UNDECODABLE


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return UNDECODABLE, error.end
    raise error


codecs.register_error("mark_undecodable", _mark)


class Lines:
    """Lines with their ends (\\n, \\r\\n or \\r). Bytes that cannot be decoded become the mark UNDECODABLE.

    A line of more than `max_chars` is cut there and marked by CUT, so a file without line ends costs no memory.
    """

    def __init__(self, stream: BinaryIO, encoding: str, max_chars: int) -> None:
        self._stream = stream
        self._text = io.TextIOWrapper(stream, encoding=encoding, errors="mark_undecodable", newline="")
        self._max_chars = max_chars
        self._first = True

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._max_chars)
        if not line:
            raise StopIteration
        if self._first:
            self._first = False
            line = line.removeprefix("\ufeff") or "\n"
        if len(line) >= self._max_chars and not line.endswith(("\n", "\r")):
            self._skip_rest()
            return line[: self._max_chars - 2] + CUT + "\n"
        return line

    def _skip_rest(self) -> None:
        while rest := self._text.readline(self._max_chars):
            if rest.endswith(("\n", "\r")):
                return

    def bytes_read(self) -> int:
        """How far the file has been read; ahead of the last line by the read buffer."""
        return self._stream.tell()


def decoded(stream: BinaryIO, encoding: str, chars: int = 1 << 16) -> Iterator[str]:
    """The text of a file in pieces of at most so many characters, marked like Lines, without a byte order mark."""
    text = io.TextIOWrapper(stream, encoding=encoding, errors="mark_undecodable", newline="")
    try:
        piece = text.read(chars).removeprefix("\ufeff")
        while piece:
            yield piece
            piece = text.read(chars)
    finally:
        # Else the stream, which is the caller's, would be closed with this.
        text.detach()
