"""Many idle connections: what they cost, and whether others are served on.

    python benchmarks/serving/idle.py [--connections 10000] [--seconds 4] [--rounds 3]

Each has had one answer and says nothing more, as the connections of a pool do.
"""

import argparse
import contextlib
import resource
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import Table, json_of, machine, measure, median, slipway


def open_idle(stack: contextlib.ExitStack, port: int, count: int) -> list[socket.socket]:
    """Connections that have been answered once."""
    opened = []
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        opened.append(connection)
    return opened


def alive(connections: list[socket.socket]) -> int:
    """How many have not been closed."""
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            count += bool(connection.recv(1))
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(machine())
    with contextlib.ExitStack() as stack, slipway(bench=("text", models.text_bundle)) as ours:
        server = ours.server("bench", json_of(models.TEXT))
        table = Table(
            "Idle connections beside 64 busy ones", "idle", "requests/s", "p99 ms", "MiB", "errors", "alive after"
        )
        for count in (0, options.connections):
            idle = open_idle(stack, server.port, count)
            results = [measure(server, 64, options.seconds) for _ in range(options.rounds)]
            ours.forget()
            errors = sum(result["errors"] + result["broken"] for result in results)
            rate, p99 = median(results, "per_second"), median(results, "p99_ms")
            table.row(count, rate, p99, server.rss() / 2**20, errors, alive(idle))


if __name__ == "__main__":
    main()
