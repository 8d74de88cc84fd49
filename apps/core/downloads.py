"""Sending stored files to users: streamed, never opened by the browser, one byte range at a time."""

import asyncio
import re
from collections.abc import AsyncIterator, Generator, Iterator
from typing import BinaryIO

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from apps.core import request_id
from apps.core.artifacts import storage
from workers.contracts.errors import UserError, body

_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


def download(request: HttpRequest, *, key: str, filename: str, content_type: str, etag: str = "") -> HttpResponseBase:
    """The stored file as an attachment called `filename`, which may be any text. A single `Range` is honoured.

    Raises JobError `artifact_missing`, InfraError.
    """
    size = storage().size(key)
    headers = {**_headers(filename), "Accept-Ranges": "bytes"}
    if etag:
        headers["ETag"] = f'"{etag}"'
    wanted = _range(request.headers.get("Range", ""), size)
    if wanted is None:
        told = body(UserError("range_invalid", size_bytes=size), request_id.current())
        return JsonResponse(told, status=416, headers={"Accept-Ranges": "bytes", "Content-Range": f"bytes */{size}"})
    start, end = wanted
    part = (start, end) != (0, size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    stream = storage().open(key)
    chunks = _streamed(request, _chunks(stream, start, end))
    return StreamingHttpResponse(chunks, status=206 if part else 200, headers=headers, content_type=content_type)


def download_pieces(
    request: HttpRequest, pieces: Iterator[bytes], *, filename: str, content_type: str
) -> HttpResponseBase:
    """What is made as it is sent, as an attachment called `filename`."""
    return StreamingHttpResponse(_streamed(request, pieces), headers=_headers(filename), content_type=content_type)


def _headers(filename: str) -> dict[str, str]:
    return {
        "Content-Disposition": content_disposition_header(True, filename) or "attachment",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }


def _streamed(request: HttpRequest, pieces: Iterator[bytes]) -> Iterator[bytes] | AsyncIterator[bytes]:
    # Under ASGI a plain iterator would be read into memory whole.
    return _async_pieces(pieces) if isinstance(request, ASGIRequest) else pieces


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and one past the last: all for no, several or odd ranges, None where there are no such bytes."""
    match = _RANGE.match(header)
    if not match or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:  # the last n bytes
        return (max(0, size - int(last)), size) if int(last) and size else None
    start, end = int(first), min(int(last) + 1 if last else size, size)
    return (start, end) if start < end else None


def _chunks(stream: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with stream:
        stream.seek(start)
        while start < end and (chunk := stream.read(min(_CHUNK, end - start))):
            start += len(chunk)
            yield chunk


async def _async_pieces(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
    finally:
        # Files that it holds open are closed, also where the client has left.
        if isinstance(pieces, Generator):
            await asyncio.to_thread(pieces.close)
