"""One HTTP request and its answer, as a connection hands it to the application."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol

from workers.serving.heads import Head
from workers.serving.turns import Lane

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Headers = list[tuple[bytes, bytes]]

# Every answer has these.
_ALWAYS: Final = b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
_STARTS: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n%s" % (status.value, status.phrase.encode(), _ALWAYS) for status in HTTPStatus
}
# The answer of nearly every prediction, whole.
_PREDICTED: Final = _STARTS[200] + (
    b"content-type: application/json\r\nx-ratelimit-remaining: %d\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
)


class Carrier(Protocol):
    """The connection, as its cycles see it."""

    client: tuple[str, int] | None

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def resume_reading(self) -> None:
        """More of a body is wanted."""

    async def guard(self, work: Awaitable[None]) -> None:
        """Do some work; if it fails, hang up."""

    def finished(self, cycle: "Cycle") -> None:
        """The answer has been sent."""


class Cycle:
    """A request, whose body comes from `receive`, and its answer, which goes by `send`, in one write."""

    __slots__ = (
        "_carrier",
        "_expects",
        "_given",
        "_in_lane",
        "_lane",
        "_news",
        "_task",
        "answered",
        "body",
        "client",
        "gone",
        "head",
        "headers",
        "keep_alive",
        "left",
        "method",
        "more_body",
        "path",
    )

    def __init__(self, carrier: Carrier, method: str, path: str, headers: dict[bytes, bytes], keep_alive: bool) -> None:
        self._carrier = carrier
        # Address and port, where the client has such.
        self.client: tuple[str, int] | None = carrier.client
        self.method = method
        self.path = path
        self.headers = headers
        # Its head, where that may come again.
        self.head: Head | None = None
        # Whether the connection stays open after the answer.
        self.keep_alive = keep_alive
        # What has come of the body and was not received yet, and whether more will come.
        self.body = b""
        self.more_body = True
        # Whether the answer has been sent whole, and whether the client has hung up.
        self.answered = self.gone = False
        # Called once if the client hangs up.
        self.left: Callable[[], None] | None = None
        # Kept here because the event loop itself keeps no task alive.
        self._task: asyncio.Task[None] | None = None
        self._expects = b"expect" in headers
        self._given = False
        self._news: asyncio.Future[None] | None = None
        # Where turns are taken: whose, and whether it is its own now.
        self._lane: Lane | None = None
        self._in_lane = False

    def enter(self, lane: Lane) -> None:
        """Its turn has come, until it is answered. While it waits for its client or a thread, others have theirs."""
        self._lane, self._in_lane = lane, True

    def step_aside(self) -> None:
        """Let others have their turn."""
        if self._lane is not None and self._in_lane:
            self._in_lane = False
            self._lane.leave()

    def step_back(self) -> None:
        """Go on."""
        if self._lane is not None and not (self._in_lane or self.answered or self.gone):
            self._in_lane = True
            self._lane.resume()

    def abandon(self) -> None:
        """Nobody is there to be answered any more."""
        self.gone = True
        left, self.left = self.left, None
        if left is not None:
            left()
        self.step_aside()
        self.wake()

    def run(self, work: Awaitable[None]) -> None:
        """Do some work on the answer."""
        self._task = asyncio.get_running_loop().create_task(self._carrier.guard(work))

    def wake(self) -> None:
        """There is something new to receive."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def receive(self) -> Message:
        """The next piece of the body, as in ASGI; after the last, the news that the client has left."""
        if self._expects:
            self._expects = False
            if self.headers[b"expect"].lower() == b"100-continue" and not self.gone:
                self._carrier.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while (self._given or (self.more_body and not self.body)) and not (self.gone or self.answered):
            if not self._given:
                self._carrier.resume_reading()
            self._news = asyncio.get_running_loop().create_future()
            self.step_aside()
            try:
                await self._news
            finally:
                self._news = None
                self.step_back()
        if self.gone or self.answered:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        self._given = not self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def send(self, status: int, headers: Headers, body: bytes, *, hold: bool = False) -> None:
        """Answer. `hold` leaves the connection as it is until `end`."""
        if self.gone or self.answered:
            return
        lines = [_STARTS[status]]
        for name, value in headers:
            if name == b"connection":
                self.keep_alive = False  # we say nothing but close
            else:
                lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines += (b"content-length: %d\r\n\r\n" % len(body), b"" if self.method == "HEAD" else body)
        self._carrier.write(b"".join(lines))
        if not hold:
            self.end()

    def send_predictions(self, body: bytes, request_id: str, remaining: int) -> None:
        """`send` with status 200 and no header but those of every prediction, over a connection that stays open."""
        if not (self.gone or self.answered):
            self._carrier.write(_PREDICTED % (remaining, request_id.encode(), len(body), body))
            self.end()

    def end(self) -> None:
        """The answer is whole."""
        if not self.answered and not self.gone:
            self.answered = True
            self.step_aside()
            self._carrier.finished(self)
            self.wake()
