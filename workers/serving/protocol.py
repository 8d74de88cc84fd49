"""uvicorn's HTTP protocol with bounds that it lacks: time for a request's headers, their size, and JSON refusals."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from workers.contracts.errors import UserError
from workers.serving.exchange import new_request_id
from workers.serving.replies import error_body

# Seconds from a connection's first byte (or its opening) until the headers of a request are whole.
HEADERS_TIMEOUT_S = 15.0
MAX_HEADER_BYTES = 32 * 2**10


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._headers_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: it has some seconds to say what it wants."""
        super().connection_made(transport)
        self._headers_timer = self.loop.call_later(HEADERS_TIMEOUT_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the request's address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered."""
        if self._headers_timer is not None:
            self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        super().data_received(data)
        # A request has begun and its headers are not whole: they are what the timer waits for.
        if self._headers_timer is None and self._between_requests():
            self._headers_timer = self.loop.call_later(HEADERS_TIMEOUT_S, self._too_slow)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in JSON."""
        request_id = new_request_id()
        body = error_body(UserError("bad_request", "This is not a valid HTTP request."), request_id)
        lines = [STATUS_LINE[400]]
        for name, value in self.server_state.default_headers:
            lines += [name, b": ", value, b"\r\n"]
        lines += [
            b"content-type: application/json\r\nx-request-id: ",
            request_id.encode(),
            b"\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body),
            body,
        ]
        if not self.transport.is_closing():
            self.transport.write(b"".join(lines))
            self.transport.close()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("the headers are too long")

    def _between_requests(self) -> bool:
        """Whether the last request has been answered, and a part of the next has come."""
        return self.cycle is not None and self.cycle.response_complete and self.scope is not self.cycle.scope

    def _stop_timer(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _too_slow(self) -> None:
        self._headers_timer = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
