"""Memory of the serving process over many requests of mixed lengths.

    python benchmarks/serving/memory.py [--requests 1000000]

Texts of one word to some hundreds, one to eight of them in a request: batches whose shapes hardly ever repeat.
"""

import argparse
import functools
import itertools
import json
import random
import sys
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import load, models
from benchmarks.serving.servers import Table, machine, on_core, request_of, slipway

CONNECTIONS = 64
STEPS = 20
TOKENS = 256


def bodies(count: int) -> list[bytes]:
    """Requests, most of them short, some long."""
    rng, words = random.Random(0), models.TEXT.split()
    found = []
    for _ in range(count):
        texts = [
            " ".join(rng.choices(words, k=max(1, int(rng.lognormvariate(2.5, 1)))))[: 20 * TOKENS]
            for _ in range(rng.choices((1, 2, 8), (8, 2, 1))[0])
        ]
        found.append(json.dumps({"inputs": texts}).encode())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    options = parser.parse_args()
    print(machine())
    with slipway(bench=("text", functools.partial(models.text_bundle, tokens=TOKENS))) as ours:
        server, path = ours.server("bench", b""), "/v1/endpoints/bench/predict"
        requests = itertools.cycle([request_of(server.port, path, body, ours.key) for body in bodies(20_000)])
        table = Table(
            f"Memory over {options.requests:,} mixed requests", "requests", "MiB     ", "requests/s", "errors"
        )
        seen, errors, readings = 0, 0, []
        table.row(0, server.rss() / 2**20, 0.0, 0)
        with on_core(-1):
            while seen < options.requests:
                count, started = min(options.requests // STEPS, options.requests - seen), time.perf_counter()
                work = load.closed("127.0.0.1", server.port, CONNECTIONS, requests, count=count)
                result = uvloop.run(work)
                ours.forget()
                seen += count
                errors += result["errors"] + result["broken"]
                readings.append(server.rss() / 2**20)
                table.row(seen, readings[-1], count / (time.perf_counter() - started), errors)
        # What the first twentieth needs for its largest shapes is not growth.
        first, last = readings[0], readings[-1]
        print(f"\nFrom request {options.requests // STEPS:,} to the last: {last / first - 1:+.1%}")


if __name__ == "__main__":
    main()
