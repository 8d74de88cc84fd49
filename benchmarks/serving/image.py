"""Images of 32×32 through a small residual network: what serving adds to decoding and running.

    python benchmarks/serving/image.py [--seconds 5] [--rounds 3]

The limit is the same decoding and the same model in a plain loop on the same core, in batches. In a queue of N
connections each answer waits for N images: the ideal latency is N divided by the limit. A busy machine disturbs the
processor time per image less: the loop's over the server's is what the ratio of rates would be on a quiet one.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import CORES, Table, machine, measure, median, on_core, slipway
from workers.inference import runtime

CONNECTIONS = (1, 16, 64)
# What the server would run at so many connections.
BATCHES = (1, 16, 64)


def limit(folder: str, seconds: float) -> dict[str, float]:
    """Images per second in a plain loop, by batch size; `cpu_us`: the least processor time per image."""
    predictor, picture, found = runtime.load(folder, threads=1), models.jpeg(), {"cpu_us": math.inf}
    for batch in BATCHES:
        predictor.predict(predictor.parse([picture] * batch))
        count, started, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() < started + seconds:
            predictor.predict(predictor.parse([picture] * batch))
            count += batch
        found[str(batch)] = count / (time.perf_counter() - started)
        found["cpu_us"] = min(found["cpu_us"], (time.process_time() - cpu) * 1e6 / count)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", metavar="FOLDER", help="only measure the plain loop, as JSON")
    options = parser.parse_args()
    if options.limit:
        print(json.dumps(limit(options.limit, options.seconds / len(BATCHES))))
        return
    print(machine())
    with slipway(pictures=("image", models.image_bundle)) as ours:
        server = ours.server("pictures", models.jpeg(), "image/jpeg")
        folder = models.unpacked(ours.home / "pictures.zip")
        plain, served = [], {connections: [] for connections in CONNECTIONS}
        for _ in range(options.rounds):
            command = [sys.executable, __file__, "--limit", str(folder), "--seconds", str(options.seconds)]
            with on_core(0):
                plain.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
            for connections in CONNECTIONS:
                served[connections].append(measure(server, connections, options.seconds))
            ours.forget()
        best = max(median(plain, str(batch)) for batch in BATCHES)
        loops = ", ".join(f"{median(plain, str(batch)):.0f}" for batch in BATCHES)
        title = f"Image model; a plain loop on the same core (of {len(CORES)}) runs {loops} images/s in batches of"
        rates = ("images/s", "of the limit", "CPU us", "of the loop's")
        columns = (*rates, "p50 ms", "p99 ms", "ideal ms", "p99/ideal", "errors")
        least = median(plain, "cpu_us")
        table = Table(f"{title} {', '.join(map(str, BATCHES))}", "connections", *columns)
        for connections, results in served.items():
            rate, p99, ideal = median(results, "per_second"), median(results, "p99_ms"), connections / best * 1e3
            errors = sum(result["errors"] + result["broken"] for result in results)
            cpu = median(results, "cpu_us")
            figures = (median(results, "p50_ms"), p99, ideal, p99 / ideal, errors)
            table.row(connections, rate, rate / best, cpu, least / cpu, *figures)


if __name__ == "__main__":
    main()
