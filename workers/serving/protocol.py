"""uvicorn's HTTP protocol with bounds that it lacks: time for a request's headers, their size, and JSON refusals."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from workers.contracts.errors import UserError
from workers.serving.exchange import new_request_id
from workers.serving.replies import error_body

MAX_HEADER_BYTES = 32 * 2**10


class OneWrite:
    """A transport that sends an answer's head together with its body: one system call per answer instead of two."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Hold the head of a final answer back until something follows."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data[9:10] != b"1":
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a head that nothing follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what is left and close."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """As of the transport."""
        return self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """One connection."""

    # Seconds from the opening, or from the first byte of a later request, until the headers are whole.
    headers_timeout_s = 15.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Bytes of a request whose headers are not whole yet, and the time they have left.
        self._begun = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: it has some seconds to say what it wants."""
        super().connection_made(OneWrite(transport))  # type: ignore[arg-type]
        self._timer = self.loop.call_later(self.headers_timeout_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """The answer is whole."""
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        cycle = self.cycle
        if (
            len(data) + self._begun > MAX_HEADER_BYTES
            and (cycle is None or cycle.response_complete)
            and b"\r\n\r\n" not in data[:MAX_HEADER_BYTES]
        ):
            self.send_400_response("the headers are too long")
            return
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and self.scope is cycle.scope:
            # Nearly always: the headers of the newest request are whole.
            if self._timer is not None:
                self._stop_timer()
            self._begun = 0
            return
        self._begun += len(data)
        if self._timer is None:
            self._timer = self.loop.call_later(self.headers_timeout_s, self._too_slow)

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

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
