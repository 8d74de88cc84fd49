"""Open-loop load: requests at fixed moments, latencies from the moment at which each was due.

    python benchmarks/serving/steady.py [--seconds 10] [--rounds 3] [--share 0.5]

The rate is a share of what the server answered at 64 connections just before. A server that stops for a moment is seen
here: load that waits for answers would only ask less.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import Table, checked, json_of, machine, measure, slipway

CONNECTIONS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.5)
    options = parser.parse_args()
    print(machine())
    with slipway(bench=("text", models.text_bundle)) as ours:
        server = ours.server("bench", json_of(models.TEXT))
        title = f"Text model at a fixed rate, {options.share:.0%} of its capacity"
        table = Table(title, "round", "capacity/s", "due/s", "answered/s", "p50 ms", "p99 ms", "max ms")
        for number in range(1, options.rounds + 1):
            capacity = checked(server, measure(server, 64, options.seconds / 2))["per_second"]
            rate = capacity * options.share
            result = checked(server, measure(server, CONNECTIONS, options.seconds, rate))
            ours.forget()
            table.row(
                *(number, capacity, rate, result["per_second"]),
                *(result["p50_ms"], result["p99_ms"], result["max_ms"]),
            )


if __name__ == "__main__":
    main()
