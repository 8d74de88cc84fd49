"""A TCP proxy before one server: the edge between two processes, which can be refused, cut, silent or slow.

It also counts steps, a request that is sent and answered being one, and can end a process right after a given step:
what the server did is done, and nobody ever read that it was.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["open", "refused", "silent"]


class Steps:
    """Requests counted over several edges. `on_last` is called once, when `last` of them have been answered; where it
    `ends` whoever asks, nothing passes any more."""

    def __init__(self) -> None:
        self.arm(None, lambda: None)

    def arm(self, last: int | None, on_last: Callable[[], object], *, ends: bool = True) -> None:
        """Begin to count at nought."""
        self.count, self.last, self.on_last, self.ends = 0, last, on_last, ends

    def is_over(self) -> bool:
        """Whether nothing passes any more."""
        return self.ends and self.last is not None and self.count >= self.last

    def answered(self) -> None:
        """One more answer has come from a server, and has not been passed on."""
        self.count += 1
        if self.count == self.last:
            self.on_last()


class Edge:
    """Listens on a port of its own and passes on to `host:port` of `url`. To be used from other threads."""

    def __init__(self, url: str, steps: Steps | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._target = (parts.hostname, parts.port)
        self._steps = steps
        self.delay_s = 0.0
        self._mode: Mode = "open"
        self._passing = asyncio.Event()
        self._passing.set()
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())
        self.url = url.replace(f":{parts.port}", f":{self._port}")

    def become(self, mode: Mode) -> None:
        """Refused: nobody listens and all connections break. Silent: whatever is sent, nothing comes."""
        self._do(self._become(mode))

    def cut(self) -> None:
        """Break every connection; new ones may be made."""
        self._do(self._cut())

    def close(self) -> None:
        """Listen no more."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _end(self) -> None:
        await self._become("refused")
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _become(self, mode: Mode) -> None:
        if self._mode == "refused" and mode != "refused":
            await self._listen()
        self._mode = mode
        (self._passing.clear if mode == "silent" else self._passing.set)()
        if mode == "refused":
            self._server.close()
            await self._cut()

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection(*self._target)
            turn = {"asked": False}
            self._writers |= {writer, back}
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, back, turn, asks=True))
                both.create_task(self._pass(there, writer, turn, asks=False))
            self._writers -= {writer, back}

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, turn: dict[str, bool], *, asks: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                await asyncio.sleep(self.delay_s)
                await self._passing.wait()
                if self._steps and turn["asked"] and not asks:
                    self._steps.answered()
                if self._steps and self._steps.is_over():
                    break
                turn["asked"] = asks
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


@contextlib.contextmanager
def edge(url: str, steps: Steps | None = None) -> Iterator[Edge]:
    """An edge while the block runs."""
    made = Edge(url, steps)
    try:
        yield made
    finally:
        made.close()
