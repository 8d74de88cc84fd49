"""Sending answers: every one is JSON (or the tensors of the Open Inference Protocol) with the same few headers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from workers.contracts import errors
from workers.contracts.errors import SlipwayError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
_LINGER_BYTES = 2**20
_LINGER_S = 1.0
# The HTTP server adds these to every answer, its own 400s too.
DEFAULT_HEADERS = [("x-content-type-options", "nosniff"), ("cache-control", "no-store")]


async def send_body(
    send: Send, status: int, body: bytes, request_id: str, headers: Headers, linger: Receive | None = None
) -> None:
    """Send a whole answer. `headers` hold the content type.

    `linger`, for answers that end the connection, reads past some of what the client is still sending: a connection
    closed over unread bytes is reset, and many clients would never see the answer.
    """
    start = [*headers, (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": status, "headers": start})
    if linger is not None:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await _read_past(linger)
        body = b""
    await send({"type": "http.response.body", "body": body})


async def _read_past(receive: Receive) -> None:
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while size < _LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return


async def send_json(send: Send, value: Any, request_id: str, status: int = 200) -> None:
    """Send a JSON value."""
    await send_body(send, status, orjson.dumps(value), request_id, [JSON])


def error_body(error: SlipwayError | None, request_id: str, *, oip: bool = False) -> bytes:
    """The JSON body of an error; None is a bug, of which nothing is told.

    Open Inference clients want `error` to be a string: there the details are its neighbours.
    """
    whole = errors.body(error, request_id)
    if oip:
        detail = whole["error"]
        return orjson.dumps({"error": f"{detail['message']} {detail['hint']}".strip(), "detail": detail})
    return orjson.dumps(whole)


def error_headers(error: SlipwayError | None) -> Headers:
    """What HTTP wants beside an error's body."""
    headers = [JSON]
    if error is None:
        return headers
    if "retry_after" in error.params:
        headers.append((b"retry-after", str(error.params["retry_after"]).encode()))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.status == 405:
        headers.append((b"allow", str(error.params["allow"]).encode()))
    return headers
