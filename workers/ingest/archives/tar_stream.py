"""Tar archives, plain or compressed, read strictly forward: regular files only, nothing sparse, no links."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits
from workers.ingest import compression
from workers.ingest.archives.entries import Archive, Entry, Ledger
from workers.ingest.records import Problem

_BLOCK = 512
_CHUNK = 1 << 16
_MAX_LONG_NAME = 1 << 16
_MAX_PAX = 1 << 20
_REGULAR = (b"0", b"\0", b"7")
_FOLDER = b"5"
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"


class TarArchive(Archive):
    """A tar, plain or compressed; how is told by its content."""

    def __init__(self, path: Path, limits: IngestLimits) -> None:
        self._ledger = Ledger(limits)
        self._size = max(1, path.stat().st_size)
        self._raw = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._stream = compression.unpacking(self._raw)
        # Bytes of the present entry that have not been read yet, and what fills its last block.
        self._left = 0
        self._padding = 0

    def take(self, count: int) -> bytes:
        """Up to `count` bytes of the unpacked stream; fewer only at its end. Raises JobError."""
        pieces: list[bytes] = []
        while count > 0:
            try:
                piece = self._stream.read(min(count, _CHUNK))
            except compression.DAMAGED as error:
                raise JobError("archive_unreadable", "The archive is damaged.", evidence=str(error)[:200]) from None
            if not piece:
                break
            self._ledger.add(len(piece), self._raw.tell())
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _skip(self, count: int) -> None:
        while count > 0:
            piece = self.take(min(count, _CHUNK))
            if not piece:
                raise JobError("archive_unreadable", "The archive ends too early.", hint="Upload it again, whole.")
            count -= len(piece)

    def take_content(self, count: int) -> bytes:
        """The next bytes of the present entry. Raises JobError where the archive ends within."""
        data = self.take(min(count, self._left))
        if len(data) < min(count, self._left):
            raise JobError("archive_unreadable", "The archive ends too early.", hint="Upload it again, whole.")
        self._left -= len(data)
        return data

    def __iter__(self) -> Iterator[Entry]:
        number, name, size = 0, "", -1
        while (header := self._header()) is not None:
            kind = header[156:157]
            length = _number(header[124:136])
            if kind in (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL):
                body = self._extension(kind, length)
                if kind == _LONG_NAME:
                    name = body.rstrip(b"\0").decode("utf-8", "surrogateescape")
                elif kind == _PAX:
                    name, size = _pax(body, name, size)
                continue
            if size >= 0:
                length = size
            shown = name or _short_name(header)
            name, size = "", -1
            has_content = kind not in (b"1", b"2", b"3", b"4", _FOLDER, b"6")
            self._left = length if has_content else 0
            self._padding = -self._left % _BLOCK
            if kind != _FOLDER and not (kind in _REGULAR and shown.endswith("/")):
                number += 1
                self._ledger.entry()
                yield _TarEntry(self, number, shown, kind, length)
            self._skip(self._left)
            self.take(self._padding)

    def _header(self) -> bytes | None:
        """The next header block; None at the end of the archive. Raises JobError."""
        header = self.take(_BLOCK)
        if len(header) < _BLOCK:
            # Without the closing block nobody can know that nothing is missing.
            raise JobError("archive_unreadable", "The archive ends too early.", hint="Upload it again, whole.")
        if not header.strip(b"\0"):
            return None
        unsigned = sum(header) - sum(header[148:156]) + 8 * 32
        if _number(header[148:156]) != unsigned:
            raise JobError("archive_unreadable", "The archive is no tar, or damaged: a header's checksum is wrong.")
        return header

    def _extension(self, kind: bytes, length: int) -> bytes:
        """The body of a header that says more about the next entry."""
        self._ledger.entry()
        if length > (_MAX_PAX if kind in (_PAX, _PAX_GLOBAL) else _MAX_LONG_NAME):
            raise JobError("archive_unreadable", "The archive has a header of absurd size.")
        self._left = length
        body = self.take_content(length)
        self.take(-length % _BLOCK)
        return body

    def fraction(self) -> float:
        """By packed bytes."""
        return min(1.0, self._raw.tell() / self._size)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


class _TarEntry(Entry):
    def __init__(self, archive: TarArchive, number: int, name: str, kind: bytes, size: int) -> None:
        super().__init__(number, name)
        self._archive = archive
        self._size = size
        if self.problem is None and kind not in _REGULAR:
            self.problem = Problem("entry_link", "The entry is a link, a device or another special file.")

    def write_to(self, target: BinaryIO, limit: int) -> Problem | None:
        """Copy the content. Raises JobError where the archive ends within it."""
        if self._size > limit:
            return Problem("image_too_large", f"The file has more than {limit:,} bytes.")
        left = self._size
        while left > 0:
            left -= target.write(self._archive.take_content(min(left, _CHUNK)))
        return None


def _number(field: bytes) -> int:
    """An octal number, or GNU's binary one for large files. Raises JobError."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip()
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise JobError("archive_unreadable", "The archive has a header that is no tar header.")
    return int(digits, 8)


def _short_name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def _pax(body: bytes, name: str, size: int) -> tuple[str, int]:
    """The path and size that a pax header gives the next entry. Raises JobError."""
    place = 0
    while place < len(body):
        blank = body.find(b" ", place, place + 20)
        if blank < 0 or not body[place:blank].isdigit():
            raise JobError("archive_unreadable", "The archive has a damaged pax header.")
        end = place + int(body[place:blank])
        key, equals, value = body[blank + 1 : end - 1].partition(b"=")
        if not equals or end > len(body) or end <= blank:
            raise JobError("archive_unreadable", "The archive has a damaged pax header.")
        if key == b"path":
            name = value.decode("utf-8", "surrogateescape")
        elif key == b"size":
            if not value.isdigit() or len(value) > 18:
                raise JobError("archive_unreadable", "The archive has a damaged pax header.")
            size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise JobError("archive_unreadable", "The archive holds sparse files.", hint="Make it without --sparse.")
        place = end
    return name, size
