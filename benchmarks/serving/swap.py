"""Deploys under full load: one model version after another while 64 connections ask without a pause.

    python benchmarks/serving/swap.py [--swaps 20]

Prints how long each took from its publication until it answers, with loading and warm-up, and every answer that was not
a 200.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import HERE, Table, json_of, machine, on_core, slipway
from tests.serving.running import until

PAUSE_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--swaps", type=int, default=20)
    options = parser.parse_args()
    print(machine())
    with slipway(bench=("text", models.text_bundle)) as ours:
        control, (route,) = ours.control, ours.control.routes
        server = ours.server("bench", json_of(models.TEXT))
        command = [sys.executable, str(HERE / "load.py"), "127.0.0.1", str(server.port), "64", "1e9"]
        client = httpx.Client(
            base_url=ours.serving.url, headers={"Authorization": f"Bearer {ours.key}"}, trust_env=False, timeout=30
        )

        def answering() -> int:
            reply = client.post("/v1/endpoints/bench/predict", json={"inputs": [models.TEXT]})
            return int(reply.raise_for_status().json()["model"]["number"])

        with on_core(-1):
            command[-1] = str(3 + options.swaps * (PAUSE_S + 1.5))
            loading = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert loading.stdin and loading.stdout
        loading.stdin.write(server.request)
        loading.stdin.close()
        took = []
        for number in range(2, options.swaps + 2):
            if loading.poll() is not None:
                break
            # As the product deploys: the one that answered so far stays until the new one is loaded.
            old, bundle = control.routes[0].revisions[-1], models.text_bundle(ours.home / "new.zip", seed=number)
            new = control.revision(bundle, number=number)
            control.replace(route, revisions=[old.model_copy(update={"traffic": 0}), new])
            published = time.perf_counter()
            control.publish()
            until(lambda number=number: answering() == number)
            took.append(time.perf_counter() - published)
            pause = time.perf_counter() + PAUSE_S
            until(lambda pause=pause: time.perf_counter() > pause)
        result = json.loads(loading.stdout.read())
        loading.wait()
        table = Table(
            "Swaps under load", "swaps", "median s", "longest s", "answers", "per second", "not 200", "broken"
        )
        table.row(
            *(len(took), statistics.median(took), max(took), result["answers"], result["per_second"]),
            *(result["errors"], result["broken"]),
        )
        if result["errors"]:
            print(result["first_error"])


if __name__ == "__main__":
    main()
