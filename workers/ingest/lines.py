"""The physical lines of a text file, one by one or many at once, with bounded memory and no byte refused."""

import codecs
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from workers.ingest.records import CUT, UNDECODABLE

_CHUNK = 1 << 20
_BOM = codecs.BOM_UTF8
# The marks as they are among bytes, where lines are put back or the file is in another encoding.
_MARKS = {mark.encode("utf-8", "surrogatepass"): mark for mark in (UNDECODABLE, CUT)}


def _mark(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        found = error.object[error.start : error.start + 3]
        return (_MARKS[found], error.start + 3) if found in _MARKS else (UNDECODABLE, error.end)
    raise error


codecs.register_error("mark_undecodable", _mark)


class Lines:
    """Lines with their ends (\\n, \\r\\n or \\r). Bytes that cannot be decoded become the mark UNDECODABLE.

    A line of more than `max_chars` is cut there and marked by CUT, so a file without line ends costs no memory.
    """

    def __init__(self, stream: BinaryIO, encoding: str, max_chars: int) -> None:
        self._stream = stream
        self._decoder = (
            None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)(errors="mark_undecodable")
        )
        self._max_chars = max_chars
        # UTF-8; what is before `_at` has been read.
        self._buffer = b""
        self._at = 0
        self._replaced = (b"", b"")
        self._ended = False
        self._fill()
        self._buffer = self._buffer.removeprefix(_BOM)

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        end = self._end_of_line()
        while end < 0 and not self._ended and len(self._buffer) - self._at <= 4 * self._max_chars:
            self._fill()
            end = self._end_of_line()
        raw = self._buffer[self._at : end if end >= 0 else len(self._buffer)]
        if not raw:
            raise StopIteration
        self._at += len(raw)
        line = raw.decode("utf-8", "mark_undecodable")
        if end < 0 and not self._ended:
            self._skip_rest()
        return line if len(line) <= self._max_chars else line[: self._max_chars - 2] + CUT + "\n"

    def _end_of_line(self) -> int:
        """Where the next line ends in the buffer; -1 where that is not in it."""
        end = self._buffer.find(b"\n", self._at) + 1
        lone = self._buffer.find(b"\r", self._at, end or len(self._buffer)) + 1
        if not lone or lone == end - 1:
            return end or -1
        # Of a \r at the buffer's end it is open whether \n follows.
        return lone if lone < len(self._buffer) or self._ended else -1

    def _skip_rest(self) -> None:
        while (end := self._end_of_line()) < 0 and not self._ended:
            self._at = max(self._at, len(self._buffer) - 1)
            self._fill()
        self._at = end if end >= 0 else len(self._buffer)

    def _fill(self, size: int = _CHUNK) -> None:
        chunk = self._stream.read(max(_CHUNK, size))
        self._ended = not chunk
        if self._decoder:
            chunk = self._decoder.decode(chunk, final=self._ended).encode("utf-8", "surrogatepass")
        self._buffer = self._buffer[self._at :] + chunk
        self._at = 0
        if self._replaced[0]:
            self._buffer = self._buffer.replace(*self._replaced)

    def replace(self, old: str, new: str) -> None:
        """Read one text instead of another from here on."""
        self._replaced = (old.encode(), new.encode())
        self._buffer = self._buffer[self._at :].replace(*self._replaced)
        self._at = 0

    def is_over(self) -> bool:
        """Whether there are no more lines."""
        while self._at == len(self._buffer) and not self._ended:
            self._fill()
        return self._at == len(self._buffer)

    def peek(self, size: int) -> bytes:
        """Whole lines from here on, together of at most `size` bytes, not yet taken; b"" where there are none."""
        while (missing := size - (len(self._buffer) - self._at)) > 0 and not self._ended:
            self._fill(missing)
        if self._ended and len(self._buffer) - self._at <= size:
            return self._buffer[self._at :]
        return self._buffer[self._at : self._buffer.rfind(b"\n", self._at, self._at + size) + 1]

    def skip(self, size: int) -> None:
        """Take so many bytes of what was looked at."""
        self._at += size

    def put_back(self, lines: Iterable[str]) -> None:
        """Let these lines be the next ones."""
        if text := "".join(lines):
            self._buffer = text.encode("utf-8", "surrogatepass") + self._buffer[self._at :]
            self._at = 0

    def bytes_read(self) -> int:
        """How far the file has been read."""
        return self._stream.tell() - (0 if self._decoder else len(self._buffer) - self._at)


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
