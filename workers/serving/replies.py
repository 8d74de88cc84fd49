"""Sending answers: every one is JSON (or the tensors of the Open Inference Protocol) with the same few headers."""

import asyncio
import contextlib

import orjson

from workers.contracts import errors
from workers.contracts.errors import SlipwayError
from workers.serving.cycle import Cycle, Headers, Receive

JSON = (b"content-type", b"application/json")
ONLY_JSON = [JSON]
CLOSE = (b"connection", b"close")
_LINGER_BYTES = 2**20
_LINGER_S = 1.0


def send_body(cycle: Cycle, status: int, body: bytes, request_id: str, headers: Headers) -> None:
    """Send a whole answer. `headers` hold the content type."""
    cycle.send(status, [*headers, (b"x-request-id", request_id.encode())], body)


async def send_last(cycle: Cycle, status: int, body: bytes, request_id: str, headers: Headers) -> None:
    """Send an answer that ends the connection, and read past some of what the client is still sending.

    A connection that is closed over unread bytes is reset, and many clients would never see the answer.
    """
    cycle.send(status, [*headers, (b"x-request-id", request_id.encode()), CLOSE], body, hold=True)
    await _read_past(cycle.receive)
    cycle.end()


async def _read_past(receive: Receive) -> None:
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while size < _LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return


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
