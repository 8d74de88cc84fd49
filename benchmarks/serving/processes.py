"""Two serving processes that share a port, beside one: requests per second on all cores of the machine.

    python benchmarks/serving/processes.py [--seconds 5] [--rounds 3]

Nobody is bound to a core: the load generator and Redis want their part of the same ones. On two cores two processes
cannot be twice as fast as one; what is seen is what the second gets out of what one leaves over.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import (
    Server,
    Table,
    checked,
    home_and_control,
    json_of,
    machine,
    measure,
    median,
    request_of,
    serving_quietly,
)
from tests.serving.running import until
from workers.contracts import names

PROCESSES = (1, 2)
CONNECTIONS = (16, 64)
ENDPOINTS = {"texts": ("text", models.text_bundle), "pictures": ("image", models.image_bundle)}


@contextlib.contextmanager
def running(count: int) -> Iterator[tuple[dict[str, Server], Any]]:
    """So many processes on one port, ready; and their Redis."""
    with contextlib.ExitStack() as stack:
        home, control, redis_url = stack.enter_context(home_and_control())
        for slug, (kind, make) in ENDPOINTS.items():
            control.add_route(slug, make(home / f"{slug}.zip"), kind=kind)
        key, port = control.add_key(), None
        control.publish()
        for _ in range(count):
            one = stack.enter_context(serving_quietly(home, redis_url, port, SLIPWAY_SERVERS="2"))
            port = one.port
        until(lambda: len(control.client.keys(names.serving_key("*"))) == count)
        asked = {"texts": (json_of(models.TEXT), "application/json"), "pictures": (models.jpeg(), "image/jpeg")}
        yield (
            {
                slug: Server(
                    slug, port, one.process.pid, request_of(port, f"/v1/endpoints/{slug}/predict", body, key, kind)
                )
                for slug, (body, kind) in asked.items()
            },
            control.client,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    found: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for count in PROCESSES:
            with running(count) as (servers, client):
                for slug, server in servers.items():
                    for connections in CONNECTIONS:
                        measured = checked(server, measure(server, connections, options.seconds))
                        found.setdefault((slug, connections, count), []).append(measured)
                client.xtrim("slipway:usage", maxlen=0)
    table = Table("Two processes beside one", "endpoint", "connections", "1: /s", "p99 ms", "2: /s", "p99 ms ", "ratio")
    for slug in ENDPOINTS:
        for connections in CONNECTIONS:
            one, two = (found[slug, connections, count] for count in PROCESSES)
            table.row(slug, connections, *figures(one), *figures(two), rate(two) / rate(one))


def figures(results: list[dict[str, Any]]) -> tuple[float, float]:
    """Rate and p99, medians."""
    return rate(results), median(results, "p99_ms")


def rate(results: list[dict[str, Any]]) -> float:
    """Requests per second."""
    return median(results, "per_second")


if __name__ == "__main__":
    main()
