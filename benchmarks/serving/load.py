"""A load generator: keep-alive connections, one request at a time on each, on one core.

    python benchmarks/serving/load.py HOST PORT CONNECTIONS SECONDS < request

Prints JSON: requests per second, latencies in ms, answers that were not 200.
"""

import asyncio
import json
import sys
import time

import uvloop


class Connection(asyncio.Protocol):
    """Sends the request again as soon as it is answered."""

    def __init__(self, request: bytes, until: float, latencies: list[float], errors: list[bytes]) -> None:
        self.request, self.until, self.latencies, self.errors = request, until, latencies, errors
        self.done = asyncio.get_running_loop().create_future()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().index(b"content-length:") + 15
        if len(body) < int(head[at : at + 12].split(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self.latencies.append(now - self.sent)
        if not head.startswith(b"HTTP/1.1 200"):
            self.errors.append(self.buffer[:300])
        self.buffer = b""
        if now < self.until:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def measure(host: str, port: int, connections: int, seconds: float, request: bytes) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    errors: list[bytes] = []
    started = time.perf_counter()
    opened = [
        await loop.create_connection(lambda: Connection(request, started + seconds, latencies, errors), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in opened))
    elapsed = time.perf_counter() - started
    ordered = sorted(latencies)
    return {
        "per_second": round(len(ordered) / elapsed),
        "p50_ms": round(ordered[len(ordered) // 2] * 1e3, 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 2),
        "errors": len(errors),
        "first_error": errors[0].decode("utf-8", "replace") if errors else None,
    }


if __name__ == "__main__":
    host, port, connections, seconds = sys.argv[1:]
    result = uvloop.run(measure(host, int(port), int(connections), float(seconds), sys.stdin.buffer.read()))
    print(json.dumps(result))
