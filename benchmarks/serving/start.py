"""How long a serving process with ten deployed endpoints takes from its start until it is ready.

    python benchmarks/serving/start.py [--endpoints 10] [--rounds 5]

First with an empty cache (bundles come from storage), then again with what the first left there.
"""

import argparse
import contextlib
import statistics
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import Table, home_and_control, machine, on_core, serving_quietly


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    with home_and_control() as (home, control, redis_url):
        for number in range(options.endpoints):
            bundle = models.text_bundle(home / f"text-{number}.zip", seed=number)
            control.add_route(f"text-{number}", bundle)
        table = Table(f"Start with {options.endpoints} endpoints", "cache", "seconds ", "CPU s", "MiB")
        for cache in ("empty", "filled"):
            seconds, used, memory = [], [], []
            for _ in range(options.rounds):
                control.publish()
                if cache == "empty":
                    for path in (home / "serving").glob("*.zip"):
                        path.unlink()
                started = time.perf_counter()
                with contextlib.ExitStack() as stack:
                    with on_core(0):
                        running = stack.enter_context(serving_quietly(home, redis_url))
                    seconds.append(time.perf_counter() - started)
                    process = psutil.Process(running.process.pid)
                    used.append(sum(process.cpu_times()[:2]))
                    memory.append(process.memory_info().rss / 2**20)
            table.row(cache, *(statistics.median(values) for values in (seconds, used, memory)))


if __name__ == "__main__":
    main()
