"""HTTP/1.1 on one connection: requests are read by httptools (llhttp), bounded and in order, and given to the app.

uvicorn's server listens, accepts and drains; its own protocol costs more than a prediction of a small text model
(docs/adr/0010-callbacks-for-the-common-request.md).
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote

import httptools
import structlog

from workers.contracts.errors import UserError
from workers.serving.cycle import Cycle
from workers.serving.exchange import new_request_id
from workers.serving.heads import END, Heads
from workers.serving.replies import JSON, error_body

log = structlog.get_logger(__name__)

MAX_HEADER_BYTES: Final = 32 * 2**10
# Of a body that is not received yet; then the client has to wait.
_HIGH_WATER: Final = 64 * 2**10

# Begins to answer; what it returns is what there is to wait for, if anything.
App = Callable[[Cycle], Awaitable[None] | None]


# Headers that say where a body ends.
_FRAMING: Final = (b"content-length", b"transfer-encoding")


@dataclass(frozen=True, slots=True)
class _Body:
    """What hears of a body alone."""

    on_body: Callable[[bytes], None]
    on_message_complete: Callable[[], None]


class Connection(asyncio.Protocol):
    """One connection. It answers its requests one after the other, however they come."""

    # Seconds from the opening, or from the first byte of a later request, until the headers are whole.
    headers_timeout_s = 15.0
    # Idle connections of clients that come again are cheap to keep, and closing one under a request costs that request.
    keep_alive_s = 75.0
    # Connections at once.
    most = 900
    # What came before, on any of them.
    heads = Heads()

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        # What uvicorn's server gives to each of its protocols.
        self._app: App = config.loaded_app.__call__  # a bound method: calling an object takes a look-up each time
        self._connections: set[Connection] = server_state.connections
        self._loop: asyncio.AbstractEventLoop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self.client: tuple[str, int] | None = None
        # The request that is being answered, those that come after it, and the one whose body is being read.
        self._current: Cycle | None = None
        self._queue: deque[Cycle] = deque()
        self._reading: Cycle | None = None
        # Of the request whose headers are being read.
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._in_headers = False
        self._header_bytes = 0
        self._refused = self._is_paused = self._is_full = False
        # When the connection is closed if nothing happens; one timer looks after it, now and then.
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None

    # --- The connection ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: it has some seconds to say what it wants."""
        self._connections.add(self)
        self._transport = transport
        if len(self._connections) > self.most:
            self._make_room()
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.client = (str(peer[0]), int(peer[1]))
        self._deadline = self._loop.time() + self.headers_timeout_s
        self._timer = self._loop.call_later(self.headers_timeout_s, self._look_at_clock)

    def _make_room(self) -> None:
        """Hang up on who has been idle for long, of some that are looked at; if nobody is, on who has just come."""
        idle = (one for one in self._connections if one is not self and one._current is None)
        leaving = min(islice(idle, 64), key=lambda one: one._deadline, default=self)
        self._connections.discard(leaving)
        leaving._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for cycle in (self._current, *self._queue):
            if cycle is not None:
                cycle.abandon()
        self._queue.clear()

    def shutdown(self) -> None:
        """The server ends: close when there is nothing to answer."""
        if self._current is None:
            self._transport.close()
        else:
            self._current.keep_alive = False

    def pause_writing(self) -> None:
        """The client does not read as fast as it asks: no further request is begun."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_full = False
        if self._current is None and not self._transport.is_closing():
            self._go_on()

    def _look_at_clock(self) -> None:
        left = self._deadline - self._loop.time()
        if left <= 0:
            self._timer = None
            self._transport.abort()  # whatever of an answer it has not read by now
        else:
            # A deadline may have come nearer meanwhile, but never by more than this.
            self._timer = self._loop.call_later(min(left, self.headers_timeout_s), self._look_at_clock)

    # --- Reading ---

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._refused:
            return
        # Nothing has begun, and nobody waits: what comes is a request by itself, nearly always.
        is_fresh = not (self._in_headers or self._reading or self._current or self._queue or self._is_full)
        if is_fresh:
            end = data.find(END) + len(END)
            head = self.heads.get(data[:end])
            if head is not None and len(data) - end == head.length:
                cycle = Cycle(self, "POST", head.path, head.headers, keep_alive=True)
                cycle.head, cycle.body, cycle.more_body = head, data[end:], False
                self._start(cycle)
                return
        if (
            len(data) + self._header_bytes > MAX_HEADER_BYTES
            and self._reading is None
            and b"\r\n\r\n" not in data[:MAX_HEADER_BYTES]
        ):
            self._refuse()
            return
        had_begun = self._in_headers
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse()
        # Only now: nearly always the whole body has come with the headers.
        if self._queue:
            if is_fresh:
                self._keep_head(data)
            if self._current is None and not self._is_full:
                self._start(self._queue.popleft())
            if self._queue:
                self._pause_reading()
        if not self._in_headers:
            self._header_bytes = 0
        else:
            self._header_bytes += len(data)
            if not had_begun and self._current is None:
                self._deadline = self._loop.time() + self.headers_timeout_s

    def _feed(self, data: bytes) -> None:
        """Have bytes parsed. Raises HttpParserError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # No other protocol is spoken here: the request counts as it is, and with its body. httptools leaves that to
            # the other protocol; so the body goes to a parser of its own, and no request is read after it.
            self._parser = httptools.HttpRequestParser(_Body(self.on_body, self.on_message_complete))
            headers = self._reading.headers if self._reading else {}
            framing = [name + b": " + headers[name] + b"\r\n" for name in _FRAMING if name in headers]
            self._feed(b"POST / HTTP/1.1\r\n" + b"".join(framing) + b"\r\n")
            self._feed(data[upgrade.args[0] :])

    def _keep_head(self, data: bytes) -> None:
        """Remember how the next one begins, if what has come is one whole request."""
        cycle = self._queue[0]
        if len(self._queue) == 1 and cycle.keep_alive and not (self._in_headers or self._reading or self._refused):
            cycle.head = self.heads.keep(data, cycle.method, cycle.path, cycle.headers, cycle.body)

    def on_message_begin(self) -> None:
        """httptools: a request begins."""
        self._url = b""
        self._headers = {}
        self._in_headers = True

    def on_url(self, url: bytes) -> None:
        """httptools: some of its address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: a header, or a trailer of a chunked body, which nobody reads."""
        if self._in_headers:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """httptools: the headers are whole."""
        self._in_headers = False
        parser, url = self._parser, self._url
        raw_path = url.partition(b"?")[0] if url.startswith(b"/") else httptools.parse_url(url).path or b""
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0" and not parser.should_upgrade()
        cycle = Cycle(self, parser.get_method().decode("ascii"), path, self._headers, keep_alive)
        self._reading = cycle
        self._queue.append(cycle)

    def on_body(self, body: bytes) -> None:
        """httptools: some of the body."""
        cycle = self._reading
        if cycle is None or cycle.answered:
            return
        cycle.body = cycle.body + body if cycle.body else body
        if len(cycle.body) > _HIGH_WATER:
            self._pause_reading()
        cycle.wake()

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        if self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT":
            return  # its body is still to come
        cycle, self._reading = self._reading, None
        if cycle is not None:
            cycle.more_body = False
            cycle.wake()

    def _pause_reading(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    # --- Answering ---

    def _start(self, cycle: Cycle) -> None:
        self._current = cycle
        self._deadline = math.inf
        waiting = self._app(cycle)
        if waiting is not None:
            cycle.run(waiting)

    async def guard(self, work: Awaitable[None]) -> None:
        """Do what may not fail: a client would wait for ever."""
        try:
            await work
        except Exception:
            log.exception("unhandled")
            self._transport.close()

    def write(self, data: bytes) -> None:
        """Send bytes of an answer."""
        self._transport.write(data)

    def resume_reading(self) -> None:
        """Read on, where it was stopped."""
        if self._is_paused and not self._queue and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def finished(self, cycle: Cycle) -> None:
        """The answer has been sent whole: the next request, please."""
        self._current = None
        if not cycle.keep_alive:
            self._deadline = self._loop.time() + self.keep_alive_s
            self._transport.close()
        elif not self._transport.is_closing():
            self._go_on()

    def _go_on(self) -> None:
        self._deadline = self._loop.time() + (self.headers_timeout_s if self._in_headers else self.keep_alive_s)
        if self._is_full:
            self._pause_reading()
        elif self._queue:
            self._start(self._queue.popleft())
        elif self._refused:
            self._send_refusal()
        elif self._is_paused:
            self.resume_reading()

    def _refuse(self) -> None:
        """What came is no HTTP: say so, after the answers that are due before."""
        self._refused = True
        broken, self._reading = self._reading, None
        if broken is not None:
            broken.abandon()
            if broken is self._current:
                self._current = None
            else:
                self._queue.remove(broken)
        if self._current is None and not self._queue:
            self._send_refusal()

    def _send_refusal(self) -> None:
        request_id = new_request_id()
        body = error_body(UserError("bad_request", "This is not a valid HTTP request."), request_id)
        refusal = Cycle(self, "", "", {}, keep_alive=False)
        refusal.send(400, [JSON, (b"x-request-id", request_id.encode())], body)
