"""uvicorn's HTTP protocol with what it lacks: bounds on a request's headers, JSON refusals, answers in one write."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from workers.contracts.errors import UserError
from workers.serving.exchange import new_request_id
from workers.serving.replies import Message, error_body

MAX_HEADER_BYTES = 32 * 2**10


class Cycle(RequestResponseCycle):
    """One request and its answer. The answer leaves in one write: a system call instead of two."""

    _start: Message | None = None
    _body_given = False

    async def receive(self) -> Any:
        """As uvicorn's, without waiting for what is there."""
        if self.more_body or self._body_given or self.disconnected:
            message = await super().receive()
            self._body_given = not message.get("more_body")
            return message
        self._body_given = True
        self.message_event.clear()  # the next call waits for the client to leave
        return {"type": "http.request", "body": bytes(self.body), "more_body": False}

    async def send(self, message: Any) -> None:
        """As uvicorn's; every answer of ours has a content-length."""
        if message["type"] == "http.response.start":
            self.response_started, self._start = True, message
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        data = message["body"] if self.scope["method"] != "HEAD" else b""
        if self._start is not None:
            data, self._start = self._head(self._start) + data, None
        if data:
            self.transport.write(data)
        if not message.get("more_body"):
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()

    def _head(self, start: Message) -> bytes:
        lines = [STATUS_LINE[start["status"]]]
        for name, value in (*self.default_headers, *start["headers"]):
            if name == b"connection":
                self.keep_alive = False  # we say nothing but close
            else:
                lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)


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
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.headers_timeout_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        super().connection_lost(exc)

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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn has no setting for the class of its cycles.
        cycle.__class__ = Cycle
        super()._start_asgi_task(cycle, app)

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
