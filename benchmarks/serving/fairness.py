"""What the flood of one endpoint costs the others of its process: p99 of a steady client, alone and beside a flood.

    python benchmarks/serving/fairness.py [--seconds 5] [--rounds 3]

The steady client asks at a fixed rate, far below what its endpoint could answer. The flood is as many connections as
said, each of which asks another endpoint again as soon as it is answered. Alone and beside take turns, each until
there are some hundred answers: of forty, the 99th percentile is the worst one, and one hiccup of the machine decides.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import HERE, Server, Table, checked, json_of, machine, measure, median, on_core, slipway

CLIENTS = 4
LEAST_ANSWERS = 300


@contextlib.contextmanager
def flooding(server: Server, connections: int) -> Iterator[None]:
    """Asked by so many connections at once. Steps back behind the steady client on the core that both use."""
    command = ["nice", "-n", "15", sys.executable, str(HERE / "load.py"), "127.0.0.1", str(server.port)]
    with on_core(-1):
        flood = subprocess.Popen([*command, str(connections), "1000"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert flood.stdin is not None
    flood.stdin.write(server.request)
    flood.stdin.close()
    try:
        measure(server, 1, 1.0)  # until it is under way
        yield
    finally:
        flood.terminate()
        flood.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    endpoints = {
        "texts": ("text", models.text_bundle),
        "others": ("text", lambda path: models.text_bundle(path, seed=1)),
        "images": ("image", models.image_bundle),
    }
    with slipway(**endpoints) as ours:
        text, other = (ours.server(slug, json_of(models.TEXT)) for slug in ("texts", "others"))
        image = ours.server("images", models.jpeg(), "image/jpeg")
        table = Table(
            "One endpoint beside the flood of another",
            "steady",
            "flood",
            "alone p50",
            "p99",
            "beside p50",
            "p99 ",
            "ratio",
        )
        for name, server, rate, flood_name, flood, connections in (
            ("200 texts/s", text, 200.0, "64 × texts", other, 64),
            ("200 texts/s", text, 200.0, "256 × texts", other, 256),
            ("200 texts/s", text, 200.0, "64 × images", image, 64),
            ("60 images/s", image, 60.0, "64 × texts", other, 64),
        ):
            alone, beside = [], []
            seconds = max(options.seconds, LEAST_ANSWERS / rate)
            for _ in range(options.rounds):
                alone.append(checked(server, measure(server, CLIENTS, seconds, rate)))
                with flooding(flood, connections):
                    beside.append(checked(server, measure(server, CLIENTS, seconds, rate)))
                ours.forget()
            ratio = statistics.median(b["p99_ms"] / a["p99_ms"] for a, b in zip(alone, beside, strict=True))
            figures = [median(results, name) for results in (alone, beside) for name in ("p50_ms", "p99_ms")]
            table.row(name, flood_name, *figures, ratio)


if __name__ == "__main__":
    main()
