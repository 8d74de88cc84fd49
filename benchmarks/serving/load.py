"""A load generator: keep-alive connections on one core.

    python benchmarks/serving/load.py HOST PORT CONNECTIONS SECONDS [RATE] < request

Without a rate each connection asks again as soon as it is answered. With one, that many requests per second are due at
fixed moments, whatever the server does, and a latency is counted from the moment at which its request was due.

Prints JSON: requests per second, latencies in ms, answers that were not 200, connections that broke.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop

# An answer that takes longer counts as a time-out.
PATIENCE_S = 30.0


@dataclass
class Seen:
    """What the connections saw."""

    latencies: list[float] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    broken: int = 0

    def summary(self, elapsed: float) -> dict[str, Any]:
        """Rates and latencies."""
        ordered = sorted(self.latencies) or [float("nan")]
        return {
            "per_second": round(len(self.latencies) / elapsed, 1),
            "p50_ms": round(ordered[len(ordered) // 2] * 1e3, 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 2),
            "max_ms": round(ordered[-1] * 1e3, 2),
            "answers": len(self.latencies),
            "errors": len(self.errors),
            "broken": self.broken,
            "first_error": self.errors[0].decode("utf-8", "replace") if self.errors else None,
        }


class Connection(asyncio.Protocol):
    """Sends a request, waits for its answer, and asks `following` what comes next."""

    def __init__(self, seen: Seen, following: Callable[["Connection"], None]) -> None:
        self.seen, self.following = seen, following
        self.done = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.due = 0.0
        self.asking = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at a moment of `perf_counter`."""
        self.due, self.asking = due, True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        at = data.find(b"content-length:") if end >= 0 else 0
        if at < 0:
            at = data[:end].lower().index(b"content-length:")
        if end < 0 or len(data) - end - 4 < int(data[at + 15 : data.index(b"\r\n", at)]):
            self.buffer = data
            return
        self.buffer, self.asking = b"", False
        self.seen.latencies.append(time.perf_counter() - self.due)
        if not data.startswith(b"HTTP/1.1 200"):
            self.seen.errors.append(data[:300])
        self.following(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.broken += self.asking
        if not self.done.done():
            self.done.set_result(None)


async def _open(
    host: str, port: int, count: int, seen: Seen, following: Callable[[Connection], None]
) -> list[Connection]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(lambda: Connection(seen, following), host, port))[1] for _ in range(count)]


async def _all_closed(opened: list[Connection], seen: Seen) -> None:
    """Wait until every connection is closed, or until none has had an answer for long."""
    before, left = -1, [connection.done for connection in opened]
    while left and len(seen.latencies) > before:
        before = len(seen.latencies)
        left = list((await asyncio.wait(left, timeout=PATIENCE_S))[1])
    for connection in opened:
        if not connection.done.done():
            connection.transport.abort()
    if left:
        await asyncio.wait(left)


async def closed(
    host: str, port: int, connections: int, requests: Iterator[bytes], *, seconds: float = 1e9, count: int = 10**12
) -> dict[str, Any]:
    """Each connection asks again as soon as it is answered, for some seconds or some requests in all."""
    seen, clock = Seen(), time.perf_counter
    left = count

    def following(connection: Connection) -> None:
        nonlocal left
        if left > 0 and clock() < until:
            left -= 1
            connection.send(next(requests), clock())
        else:
            connection.transport.close()

    opened = await _open(host, port, connections, seen, following)
    started = clock()
    until = started + seconds
    for connection in opened:
        following(connection)
    await _all_closed(opened, seen)
    return seen.summary(clock() - started)


async def steady(
    host: str, port: int, connections: int, requests: Iterator[bytes], *, seconds: float, rate: float
) -> dict[str, Any]:
    """Requests at fixed moments. One that finds no free connection waits for it, and its latency runs."""
    seen, loop, clock = Seen(), asyncio.get_running_loop(), time.perf_counter
    waiting: deque[float] = deque()
    most = 0

    def following(connection: Connection) -> None:
        if waiting:
            connection.send(next(requests), waiting.popleft())
        else:
            free.append(connection)

    opened = await _open(host, port, connections, seen, following)
    free = list(opened)
    started = clock()
    finished: asyncio.Future[None] = loop.create_future()
    number, total = 0, int(rate * seconds)

    def tick() -> None:
        # The loop's timers know milliseconds: what has become due meanwhile leaves together.
        nonlocal number, most
        while number < total and (due := started + number / rate) <= clock():
            number += 1
            if free:
                free.pop().send(next(requests), due)
            else:
                waiting.append(due)
        most = max(most, len(waiting))
        if number < total:
            loop.call_later(0.001, tick)
        elif len(seen.latencies) >= total or clock() > started + seconds + PATIENCE_S or seen.broken:
            finished.set_result(None)
        else:
            loop.call_later(0.01, tick)

    tick()
    await finished
    elapsed = clock() - started
    for connection in opened:
        connection.transport.close()
    await _all_closed(opened, seen)
    return seen.summary(elapsed) | {"waited_for_a_connection": most}


def main() -> None:
    host, port, connections, seconds, *rate = sys.argv[1:]
    requests = itertools.repeat(sys.stdin.buffer.read())
    common = (host, int(port), int(connections), requests)
    if rate:
        work = steady(*common, seconds=float(seconds), rate=float(rate[0]))
    else:
        work = closed(*common, seconds=float(seconds))
    print(json.dumps(uvloop.run(work)))


if __name__ == "__main__":
    main()
