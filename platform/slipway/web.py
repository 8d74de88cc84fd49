"""The web process: uvicorn, with bounds on how long and how much a client may keep it waiting.

uvicorn itself waits for ever for the rest of a request and keeps headers of any length: a few hundred silent
connections would leave no room for anybody else.
"""

import argparse
import asyncio
import math
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from slipway import env


class Connection(HttpToolsProtocol):
    """One connection. It is hung up on where the headers are not whole in time, or too long; where a body, or the
    reading of an answer, does not get on."""

    headers_s: ClassVar[float] = 15
    header_bytes: ClassVar[int] = 64 * 2**10
    # In each so many seconds so many bytes of a body have to come, or some of the answer has to be taken.
    stride_s: ClassVar[float] = 30
    stride_bytes: ClassVar[int] = 10_000

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._in_headers = self._in_body = False
        self._head = self._came = 0
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = math.inf
        self._allow(self.headers_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        had_begun = self._in_headers
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._head += len(data)
            if self._head > self.header_bytes:
                self.send_400_response("The headers are too long.")
            elif not had_begun:
                self._allow(self.headers_s)
        else:
            self._head = 0

    def on_message_begin(self) -> None:
        """httptools: a request begins."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """httptools: the headers are whole."""
        self._in_headers, self._in_body, self._came = False, True, 0
        self._allow(self.stride_s)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """httptools: some of the body."""
        self._came += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """httptools: the request is whole; its answer may take any time."""
        self._in_body = False
        self._deadline = math.inf
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client takes nothing more of the answer for now."""
        super().pause_writing()
        self._allow(self.stride_s)

    def resume_writing(self) -> None:
        """It has taken some."""
        if not self._in_body and not self._in_headers:
            self._deadline = math.inf
        super().resume_writing()

    def _allow(self, seconds: float) -> None:
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_at(self._deadline, self._look_at_clock)

    def _look_at_clock(self) -> None:
        """One timer looks after a connection; deadlines that have come and gone meanwhile cost nothing."""
        self._timer = None
        if self._deadline == math.inf or self.transport.is_closing():
            return
        if self._deadline > self.loop.time():
            self._timer = self.loop.call_at(self._deadline, self._look_at_clock)
        elif self._in_body and (self._came >= self.stride_bytes or self.flow.read_paused):
            # It gets on, or waits for us.
            self._came = 0
            self._allow(self.stride_s)
        else:
            self.transport.abort()


def options(read: env.Env) -> dict[str, Any]:
    """How the web process runs (uvicorn.Config)."""
    return {
        "http": Connection,
        "ws": "none",
        "lifespan": "off",
        "access_log": False,
        "server_header": False,
        "proxy_headers": bool(read.proxies),
        "timeout_graceful_shutdown": 5,
    }


def main() -> None:
    """Serve the dashboard and the control API at SLIPWAY_PORT."""
    parser = argparse.ArgumentParser(prog="python -m slipway.web")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; default: this machine alone")
    read = env.read()
    host = parser.parse_args().host
    uvicorn.run("slipway.asgi:application", host=host, port=read.port, **options(read))


if __name__ == "__main__":
    main()
