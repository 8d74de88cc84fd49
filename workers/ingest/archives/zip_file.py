"""Zip archives: entries inflated one by one, checked against both of their headers."""

import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits
from workers.ingest.archives.entries import Archive, Entry, Ledger
from workers.ingest.archives.zip_directory import Member, find, inconsistent, members
from workers.ingest.records import Problem

_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1 | 0x40
_DESCRIPTOR = 0x8
_AES = 99
_CHUNK = 1 << 16
_MAX32 = 0xFFFFFFFF


class ZipArchive(Archive):
    """A zip. Opening reads the whole directory and refuses overlapping entries before anything is inflated."""

    def __init__(self, path: Path, limits: IngestLimits) -> None:
        self._ledger = Ledger(limits)
        self.stream = open(path, "rb")  # noqa: SIM115 - closed by close()
        directory = find(self.stream)
        if directory.entries > limits.max_archive_entries:
            message = f"The archive has more than {limits.max_archive_entries:,} entries."
            raise JobError("archive_too_large", message)
        everything = list(members(self.stream, directory))
        self._members = [one for one in everything if not _is_folder(one)]
        self._ends = _extents(everything, directory.start)
        self._packed = 0
        self._packed_total = max(1, sum(one.packed for one in self._members))
        # Claims are checked first, because a bomb that admits to be one need not be touched; facts are checked later.
        self._ledger.check(sum(one.size for one in self._members), sum(one.packed for one in self._members))
        if self._members and all(_is_encrypted(one) for one in self._members):
            raise JobError("archive_encrypted")

    def __iter__(self) -> Iterator[Entry]:
        for number, member in enumerate(self._members, 1):
            self._ledger.entry()
            yield _ZipEntry(self, number, member)

    def fraction(self) -> float:
        """By packed bytes."""
        return min(1.0, self._packed / self._packed_total)

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def data_start(self, member: Member) -> int:
        """Where an entry's bytes begin, once its local header has said the same as the directory.

        Raises JobError archive_inconsistent.
        """
        self.stream.seek(member.offset)
        head = self.stream.read(_LOCAL.size)
        if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
            inconsistent(f"{member.name[:200]}: there is no entry where the directory says.")
        _, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack(head)
        same = self.stream.read(name) == member.raw_name and method == member.method
        same = same and not (flags ^ member.flags) & _ENCRYPTED
        for local, central in ((crc, member.crc), (packed, member.packed), (size, member.size)):
            # With a descriptor behind the data, or in ZIP64, the local header may leave it open.
            same = same and (local in (central, _MAX32) or (bool(flags & _DESCRIPTOR) and local == 0))
        start: int = member.offset + _LOCAL.size + name + extra
        if not same or start + member.packed > self._ends[member.offset]:
            inconsistent(f"{member.name[:200]}: its two headers differ.")
        return start

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The entry's content, piece by piece, never more than the directory says. Raises JobError, zlib.error."""
        self.stream.seek(self.data_start(member))
        packed = self._packed_chunks(member.packed)
        size = crc = 0
        for piece in _inflated(packed) if member.method == _DEFLATED else packed:
            size += len(piece)
            crc = zlib.crc32(piece, crc)
            if size > member.size:
                inconsistent(f"{member.name[:200]}: it unpacks to more than it says.")
            self._ledger.add(len(piece), self._packed)
            yield piece
        if size != member.size or crc != member.crc:
            raise zlib.error("its size or checksum is wrong")

    def _packed_chunks(self, count: int) -> Iterator[bytes]:
        while data := self.stream.read(min(_CHUNK, count)):
            count -= len(data)
            self._packed += len(data)
            yield data


def _inflated(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Deflate undone in pieces of at most _CHUNK bytes, however small the input that asks for them."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    for data in packed:
        while data and not inflate.eof:
            yield inflate.decompress(data, _CHUNK)
            data = inflate.unconsumed_tail
    while not inflate.eof:
        piece = inflate.decompress(b"", _CHUNK)
        if not piece:
            raise zlib.error("it ends too early")
        yield piece


class _ZipEntry(Entry):
    def __init__(self, archive: ZipArchive, number: int, member: Member) -> None:
        super().__init__(number, member.name)
        self._archive = archive
        self._member = member
        if self.problem is None:
            self.problem = _refusal(member)

    def write_to(self, target: BinaryIO, limit: int) -> Problem | None:
        """Copy the content; an entry that cannot be unpacked is one problem, an archive that lies ends the import."""
        if self._member.size > limit:
            return Problem("image_too_large", f"The file has more than {limit:,} bytes.")
        try:
            for piece in self._archive.chunks(self._member):
                target.write(piece)
        except zlib.error as error:
            return Problem("entry_unreadable", f"The entry is damaged: {error}.")
        return None


def _refusal(member: Member) -> Problem | None:
    if member.mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return Problem("entry_link", "The entry is a link or a special file.")
    if _is_encrypted(member):
        return Problem("entry_encrypted", "The entry is protected by a password.")
    if member.method not in (_STORED, _DEFLATED):
        return Problem("entry_unreadable", f"The entry is packed by method {member.method}; only deflate is read.")
    return None


def _is_folder(member: Member) -> bool:
    return member.name.endswith(("/", "\\")) and member.size == 0


def _is_encrypted(member: Member) -> bool:
    return bool(member.flags & _ENCRYPTED) or member.method == _AES


def _extents(everything: list[Member], directory_start: int) -> dict[int, int]:
    """Offset of each entry → where the next one, or the directory, begins. Raises JobError for overlaps.

    Entries that share bytes are the trick behind zip bombs of terabytes (CVE-2024-0450).
    """
    ordered = sorted(everything, key=lambda one: one.offset)
    ends: dict[int, int] = {}
    for place, here in enumerate(ordered, 1):
        end = ordered[place].offset if place < len(ordered) else directory_start
        if here.offset + _LOCAL.size + len(here.raw_name) + here.packed > end:
            inconsistent(f"{here.name[:200]}: it overlaps another entry.")
        ends[here.offset] = end
    return ends
