"""gzip (RFC 1952) of bodies: what comes in is unpacked within its bound, what goes out is packed if the client asks."""

import asyncio
import re
import zlib
from concurrent.futures import Executor
from typing import Final

from workers.contracts.errors import UserError

# Work of more bytes than this would keep the event loop from the sockets for milliseconds.
_IN_THREAD: Final = 2**16
# Smaller answers fit into one packet anyway.
_WORTH_PACKING: Final = 1400
# The headers of a packed answer.
PACKED: Final = [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
_WBITS: Final = 31  # zlib's word for gzip with its header and checksum
_ACCEPTS: Final = re.compile(rb"(?:^|[,\s])gzip(?:\s*;\s*q=(?:1(?:\.0*)?|0\.0*[1-9]\d*))?\s*(?:,|$)", re.IGNORECASE)


def is_packed(headers: dict[bytes, bytes]) -> bool:
    """Whether the body is gzip. Raises UserError for any other encoding than that and none."""
    encoding = headers.get(b"content-encoding")
    if encoding is None or encoding.lower() == b"identity":
        return False
    if encoding.lower() in (b"gzip", b"x-gzip"):
        return True
    raise UserError("unsupported_media_type", "The Content-Encoding has to be gzip, or left out.")


async def unpack(body: bytes, limit: int, pool: Executor) -> bytes:
    """The content of a gzip body, of `limit` bytes at most. Raises UserError."""
    if len(body) <= _IN_THREAD and limit <= 2**24:
        return _unpacked(body, limit)
    return await asyncio.get_running_loop().run_in_executor(pool, _unpacked, body, limit)


def _unpacked(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_WBITS)
    try:
        content = unpacker.decompress(body, limit + 1)
    except zlib.error:
        raise UserError("bad_request", "The body is not valid gzip.") from None
    # However much more there is inside stays packed.
    if len(content) > limit:
        raise UserError("payload_too_large", limit_bytes=limit)
    if not unpacker.eof or unpacker.unused_data:
        raise UserError("bad_request", "The gzip body ends too early, or goes on after its end.")
    return content


def wants_packed(headers: dict[bytes, bytes], size: int) -> bool:
    """Whether an answer of so many bytes is to be packed: the client takes gzip, and it pays."""
    if size < _WORTH_PACKING:
        return False
    accepted = headers.get(b"accept-encoding")
    return accepted is not None and _ACCEPTS.search(accepted) is not None


async def pack(body: bytes, pool: Executor) -> bytes:
    """The body as gzip, quickly rather than tightly."""
    if len(body) <= _IN_THREAD:
        return zlib.compress(body, 1, _WBITS)
    return await asyncio.get_running_loop().run_in_executor(pool, zlib.compress, body, 1, _WBITS)
