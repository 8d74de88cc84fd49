"""Images of 32×32 through a small residual network: what serving adds to decoding and running.

    python benchmarks/serving/image.py [--seconds 5] [--rounds 3]

The limit is the same decoding and the same model in a plain loop on the same core, in batches of the size that is
fastest. Sizes take turns of tenths of a second, and the loop runs before and after each of the server's measurements,
which stands beside the mean of the two: were each size measured once, at a time of its own, the best of them would be
the one that the machine happened to favour, and no server could be as fast. In a queue of N connections each answer
waits for N images: the ideal latency is N divided by the limit. A busy machine disturbs the processor time per image
less: the loop's over the server's is what the ratio of rates would be on a quiet one.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import CORES, Table, machine, measure, median, on_core, slipway
from workers.inference import runtime

CONNECTIONS = (1, 16, 64)
BATCHES = (1, 8, 16, 64)
TURN_S = 0.1


@dataclass
class Loop:
    """What the plain loop did with batches of one size."""

    images: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0

    def __add__(self, other: "Loop") -> "Loop":
        return Loop(self.images + other.images, self.seconds + other.seconds, self.cpu_s + other.cpu_s)


def run_loop(folder: str, seconds: float) -> list[Loop]:
    """Decode and predict in a plain loop for so long, by batch size."""
    predictor, picture = runtime.load(folder, threads=1), models.jpeg()
    done = [Loop() for _ in BATCHES]
    for batch in BATCHES:
        predictor.predict(predictor.parse([picture] * batch))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for place, batch in enumerate(BATCHES):
            images, started, cpu = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() < started + TURN_S:
                predictor.predict(predictor.parse([picture] * batch))
                images += batch
            done[place] += Loop(images, time.perf_counter() - started, time.process_time() - cpu)
    return done


def loop_on_core(folder: Path, seconds: float) -> list[Loop]:
    """`run_loop` in a process of its own on the server's core."""
    command = [sys.executable, __file__, "--loop", str(folder), "--seconds", str(seconds)]
    with on_core(0):
        done = subprocess.run(command, capture_output=True, check=True)
    return [Loop(**one) for one in json.loads(done.stdout)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop", metavar="FOLDER", help="only run the plain loop, and print JSON")
    options = parser.parse_args()
    if options.loop:
        print(json.dumps([asdict(one) for one in run_loop(options.loop, options.seconds)]))
        return
    print(machine())
    with slipway(pictures=("image", models.image_bundle)) as ours:
        server = ours.server("pictures", models.jpeg(), "image/jpeg")
        folder = models.unpacked(ours.home / "pictures.zip")
        loops = [loop_on_core(folder, options.seconds)]
        served: dict[int, list[dict[str, Any]]] = {connections: [] for connections in CONNECTIONS}
        for _ in range(options.rounds):
            for connections in CONNECTIONS:
                result = measure(server, connections, options.seconds)
                served[connections].append(result | {"before": len(loops) - 1})
                loops.append(loop_on_core(folder, options.seconds))
            ours.forget()
    show(loops, served)


def show(loops: list[list[Loop]], served: dict[int, list[dict[str, Any]]]) -> None:
    """Print the table: each measurement beside the loops before and after it, medians over the rounds."""
    total = [sum(sizes, Loop()) for sizes in zip(*loops, strict=True)]
    rates = [one.images / one.seconds for one in total]
    best = rates.index(max(rates))
    title = f"Image model; a plain loop on the same core (of {len(CORES)}) runs {', '.join(f'{r:.0f}' for r in rates)}"
    columns = ("images/s", "of the limit", "CPU us", "of the loop's", "p50 ms", "p99 ms", "ideal ms", "p99/ideal")
    sizes = ", ".join(map(str, BATCHES))
    table = Table(f"{title} images/s in batches of {sizes}", "connections", *columns, "errors")
    for connections, results in served.items():
        for result in results:
            beside = loops[result["before"]][best] + loops[result["before"] + 1][best]
            result["ideal_ms"] = connections * beside.seconds / beside.images * 1e3
            result["share"] = result["per_second"] * beside.seconds / beside.images
            result["cpu_share"] = beside.cpu_s * 1e6 / beside.images / result["cpu_us"]
            result["late"] = result["p99_ms"] / result["ideal_ms"]
        names = ("per_second", "share", "cpu_us", "cpu_share", "p50_ms", "p99_ms", "ideal_ms", "late")
        errors = sum(result["errors"] + result["broken"] for result in results)
        table.row(connections, *(median(results, name) for name in names), errors)


if __name__ == "__main__":
    main()
