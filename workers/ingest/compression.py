"""Compressed files, told by their first bytes and unpacked as streams: gzip, bzip2, xz, zstd."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any, Final, cast

# What a decoder raises on damaged bytes; Arrow's errors are OSErrors.
DAMAGED: Final = (EOFError, OSError, zlib.error, lzma.LZMAError)
_PIECE = 1 << 13


def _zstd(raw: IO[bytes]) -> IO[bytes]:
    import pyarrow

    return cast("IO[bytes]", pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd"))


_BY_MAGIC: Final[dict[bytes, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _zstd,
}
# Endings that are taken off a compressed file's name.
ENDINGS: Final = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd")


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins with these bytes is compressed."""
    return head.startswith(tuple(_BY_MAGIC))


def unpacking(raw: IO[bytes]) -> IO[bytes]:
    """What a file holds, unpacked as it is read; the file itself where it is not compressed.

    Reading raises one of DAMAGED where the file is.
    """
    start = raw.tell()
    magic = raw.read(6)
    raw.seek(start)
    return next((cast("IO[bytes]", opened(raw)) for begin, opened in _BY_MAGIC.items() if magic.startswith(begin)), raw)


def head(packed: bytes, count: int) -> bytes:
    """The first bytes, at most `count`, of what the beginning of a compressed file holds."""
    stream = cast("Any", unpacking(io.BytesIO(packed)))
    pieces: list[bytes] = []
    size = 0
    try:
        # In small pieces: where the beginning breaks off, only the last of them is lost.
        while size < count and (piece := stream.read1(_PIECE)):
            pieces.append(piece)
            size += len(piece)
    except DAMAGED:
        pass
    return b"".join(pieces)[:count]


def inner_name(filename: str) -> str:
    """The name without the ending that tells the compression: "data.csv.gz" holds "data.csv"."""
    lower = filename.lower()
    return next((filename[: -len(ending)] for ending in ENDINGS if lower.endswith(ending)), filename)
