"""The central directory of a zip, read strictly: a file that two readers could understand differently is refused."""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, NoReturn

from workers.contracts.errors import JobError
from workers.ingest.encoding import looks_like_gb

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_MAX_COMMENT = 65_535
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_UTF8_FLAG = 0x800


class Member(NamedTuple):
    """An entry as the central directory has it. `mode`: the Unix file type bits, 0 where unknown."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int


class Directory(NamedTuple):
    """Where the central directory lies and how many entries it claims."""

    start: int
    size: int
    entries: int


def inconsistent(evidence: str) -> NoReturn:
    """Raise JobError archive_inconsistent."""
    raise JobError("archive_inconsistent", evidence=evidence)


def find(stream: BinaryIO) -> Directory:
    """Locate the central directory. It must end where the end record begins, and there must be one end record.

    Raises JobError archive_unreadable, archive_inconsistent.
    """
    file_size = stream.seek(0, os.SEEK_END)
    tail_start = max(0, file_size - _MAX_COMMENT - _END.size)
    stream.seek(tail_start)
    tail = stream.read()
    ends = [place for place in _places(tail, b"PK\x05\x06") if _reaches_end(tail, place)]
    if not ends:
        raise JobError("archive_unreadable", "The zip ends too early.", hint="Upload it again, whole.")
    if len(ends) > 1:
        inconsistent("The zip has two ends.")
    place = ends[0]
    end_at = tail_start + place
    _, disk, first_disk, here, entries, size, start, _ = _END.unpack_from(tail, place)
    locator_at = end_at - _LOCATOR_64.size
    if locator_at >= 0:
        stream.seek(locator_at)
        locator = stream.read(_LOCATOR_64.size)
        if locator.startswith(b"PK\x06\x07"):
            return _find_64(stream, locator, locator_at, Directory(start, size, entries))
    if _MAX16 in (disk, first_disk, here, entries) or _MAX32 in (size, start):
        inconsistent("The zip announces a ZIP64 record and has none.")
    if disk or first_disk or here != entries:
        inconsistent("The zip is one part of several.")
    if start + size != end_at:
        inconsistent("The zip's directory does not end where its end record begins.")
    return Directory(start, size, entries)


def _places(data: bytes, needle: bytes) -> Iterator[int]:
    place = data.find(needle)
    while place >= 0:
        yield place
        place = data.find(needle, place + 1)


def _reaches_end(tail: bytes, place: int) -> bool:
    if place + _END.size > len(tail):
        return False
    comment = int.from_bytes(tail[place + 20 : place + 22], "little")
    return place + _END.size + comment == len(tail)


def _find_64(stream: BinaryIO, locator: bytes, locator_at: int, short: Directory) -> Directory:
    _, disk, record_at, disks = _LOCATOR_64.unpack(locator)
    if disk or disks > 1 or record_at + _END_64.size > locator_at:
        inconsistent("The zip's ZIP64 locator points elsewhere.")
    stream.seek(record_at)
    magic, length, _, _, disk, first_disk, here, entries, size, start = _END_64.unpack(stream.read(_END_64.size))
    if magic != b"PK\x06\x06" or record_at + 12 + length != locator_at:
        inconsistent("The zip's ZIP64 locator points elsewhere.")
    if disk or first_disk or here != entries or start + size != record_at:
        inconsistent("The zip's ZIP64 record contradicts the file.")
    for long, brief, full in zip((start, size, entries), short, (_MAX32, _MAX32, _MAX16), strict=True):
        if brief not in (full, long):
            inconsistent("The zip's ZIP64 record contradicts its end record.")
    return Directory(start, size, entries)


def members(stream: BinaryIO, directory: Directory) -> Iterator[Member]:
    """The entries, in the directory's order. Raises JobError archive_inconsistent."""
    stream.seek(directory.start)
    left = directory.size
    for _ in range(directory.entries):
        head = stream.read(_CENTRAL.size)
        if len(head) < _CENTRAL.size or not head.startswith(b"PK\x01\x02"):
            inconsistent("The zip's directory has fewer entries than it says.")
        _, _, _, flags, method, _, _, crc, packed, size, name, extra, comment, disk, _, mode, offset = _CENTRAL.unpack(
            head
        )
        raw_name, extras = stream.read(name), stream.read(extra)
        stream.seek(comment, os.SEEK_CUR)
        left -= _CENTRAL.size + name + extra + comment
        if left < 0 or disk not in (0, _MAX16):
            inconsistent("The zip's directory is longer than it says.")
        size, packed, offset = _widen(extras, size, packed, offset)
        yield Member(
            _decode(raw_name, flags), raw_name, flags, method, crc, packed, size, offset, (mode >> 16) & 0o170000
        )
    if left:
        inconsistent("The zip's directory has more entries than it says.")


def _widen(extras: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset with the 64-bit values of the ZIP64 field, where the short ones are full."""
    place = 0
    while place + 4 <= len(extras):
        kind, length = struct.unpack_from("<2H", extras, place)
        if kind == 1:
            body = extras[place + 4 : place + 4 + length]
            values = [size, packed, offset]
            for index, value in enumerate(values):
                if value == _MAX32:
                    if len(body) < 8:
                        inconsistent("A ZIP64 field is too short.")
                    values[index], body = int.from_bytes(body[:8], "little"), body[8:]
            return values[0], values[1], values[2]
        place += 4 + length
    return size, packed, offset


def _decode(raw: bytes, flags: int) -> str:
    """UTF-8 with the flag or without (macOS forgets it), Chinese Windows' GB18030, else the old DOS code page."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        pass
    if not flags & _UTF8_FLAG and looks_like_gb(raw):
        try:
            return raw.decode("gb18030")
        except UnicodeDecodeError:
            pass
    return raw.decode("cp437")
