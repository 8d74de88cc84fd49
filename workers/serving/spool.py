"""Records that Redis cannot take just now, kept on disk until it can: one append-only file per process.

A frame is the length and the crc32 of its content (little-endian, 32 bits each), then the stream's name, a newline and
the record. A process holds its file by a lock, which the kernel lets go when it dies; then any other process on the
same machine takes the file and delivers it. Delivering twice is harmless: the ledger knows each request id once.
"""

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from workers.contracts.errors import InfraError

log = structlog.get_logger(__name__)

# A stream's name and a record for it.
Entry = tuple[str, bytes]

_HEAD: Final = struct.Struct("<II")
# The largest content of a frame: a longer one is damage.
_MAX_FRAME: Final = 1 << 17
# Bytes that are read at once: at least a frame.
_CHUNK: Final = 2 * _MAX_FRAME
_SUFFIX: Final = ".spool"
_DAMAGED: Final = ".damaged"
FSYNC: Final = ("everysec", "always", "never")


class Damaged(Exception):
    """A frame whose content is not what was written."""


def packed(entries: Sequence[Entry]) -> bytes:
    """The frames of some entries."""
    contents = (stream.encode() + b"\n" + record for stream, record in entries)
    return b"".join(_HEAD.pack(len(content), zlib.crc32(content)) + content for content in contents)


def unpacked(data: bytes) -> tuple[list[Entry], int]:
    """The whole frames at the beginning of `data`, and how many bytes they are. Raises Damaged at a bad first one.

    A frame that is cut off at the end is left: nobody has been told that it was written.
    """
    entries: list[Entry] = []
    at = 0
    while at + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, at)
        content = data[at + _HEAD.size : at + _HEAD.size + length]
        if length <= _MAX_FRAME and len(content) < length:
            break
        if length > _MAX_FRAME or zlib.crc32(content) != crc:
            if entries:
                break
            raise Damaged(f"a frame of {length} bytes is not what was written")
        stream, _, record = content.partition(b"\n")
        entries.append((stream.decode(), record))
        at += _HEAD.size + length
    return entries, at


class Spool:
    """The file of this process. It is there only while there is something in it.

    `fsync` says when the disk itself has to have a record: "always" (before its answer leaves), "everysec" (within a
    second) or "never" (when the system likes). A killed process loses nothing in any case: the system has its writes.
    """

    def __init__(self, folder: Path, name: str, *, max_bytes: int, fsync: str) -> None:
        self._path = folder / f"{name}{_SUFFIX}"
        self._max_bytes = max_bytes
        self.fsync = fsync
        self._file: int | None = None
        self._written = self._delivered = self._synced = 0

    @property
    def waiting_bytes(self) -> int:
        """How much is not yet delivered."""
        return self._written - self._delivered

    def write(self, entries: Sequence[Entry]) -> None:
        """Append entries, all or none. Raises InfraError `unavailable` where there is no more room."""
        frames = packed(entries)
        if self._written + len(frames) > self._max_bytes:
            raise InfraError("unavailable", retry_after=5)
        try:
            file = self._opened()
            if os.pwrite(file, frames, self._written) != len(frames):
                raise OSError("written in part")
        except OSError as error:
            log.error("records not spooled", entries=len(entries), reason=str(error)[:200])
            if self._file is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._written)
            raise InfraError("unavailable", retry_after=5) from error
        self._written += len(frames)

    def sync(self) -> None:
        """Have the disk hold what was written. May be called from a thread. Raises OSError."""
        if self._file is not None and self._synced < self._written:
            written = self._written
            os.fdatasync(self._file)
            self._synced = written

    def read(self) -> tuple[list[Entry], int]:
        """The next entries to deliver, and how many bytes they are; none where all is delivered."""
        if self._file is None:
            return [], 0
        return unpacked(os.pread(self._file, min(_CHUNK, self.waiting_bytes), self._delivered))

    def delivered(self, size: int) -> None:
        """So many more bytes have been delivered; after the last one the file begins anew."""
        self._delivered += size
        if self._file is not None and not self.waiting_bytes:
            os.ftruncate(self._file, 0)
            self._written = self._delivered = self._synced = 0

    def set_aside(self) -> None:
        """Begin anew, and keep the file for a person to look at."""
        with contextlib.suppress(OSError):
            self._path.rename(self._path.with_suffix(_DAMAGED))
        if self._file is not None:
            os.close(self._file)
        self._file, self._written, self._delivered, self._synced = None, 0, 0, 0

    def close(self) -> None:
        """Let go of the file. What is in it is left to the next process."""
        file, self._file = self._file, None
        if file is None:
            return
        if not self._written:
            self._path.unlink(missing_ok=True)
        os.close(file)

    def _opened(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Locked before it has its name: nobody may take it for one that was left behind.
            new = self._path.with_suffix(".new")
            self._file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(new, self._path)
        return self._file


@contextlib.contextmanager
def left_behind(path: Path) -> Iterator[Iterator[list[Entry]] | None]:
    """The entries of a file whose process is gone, some at a time; None while somebody holds it.

    The file is removed when the block ends well, and kept beside where it is damaged: whole frames before the damage
    have been given by then.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        if not os.fstat(file).st_nlink:  # another process has delivered it meanwhile
            yield None
            return
        try:
            yield _frames(file)
        except Damaged as error:
            log.error("spool damaged", file=path.name, reason=str(error))
            os.replace(path, path.with_suffix(_DAMAGED))
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(file)


def _frames(file: int) -> Iterator[list[Entry]]:
    at = 0
    while True:
        entries, size = unpacked(os.pread(file, _CHUNK, at))
        if not entries:
            return
        yield entries
        at += size


def files(folder: Path) -> list[Path]:
    """Every spool in a folder, of living and dead processes, oldest name first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))
