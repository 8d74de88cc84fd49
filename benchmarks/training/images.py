"""Image classification beside what a user would write: presets and plain PyTorch networks, several seeds, in one run.

python benchmarks/training/images.py [--data FOLDER] [--presets fast,balanced,best] [--seeds 3] [--json F] [--no-peers]

Slipway's seconds are those of whole jobs, from the start of the engine to the certified model; the peers' those of
training alone, on tensors already in memory. Peers learn from all training images, Slipway from nine tenths of them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "training")]

from data import images_from_zip  # noqa: E402
from run import run_job  # noqa: E402

# What is to be reached on cifar10-small.zip: accuracy, seconds on two cores.
GOALS = {"fast": (0.68, 120), "balanced": (0.75, 360), "best": (0.79, 1200)}
PEERS = {"keras-tutorial": "Keras tutorial CNN", "residual": "plain residual network"}


def runs(data: Path, presets: list[str], peers: list[str], seeds: int, folder: Path) -> Iterator[dict[str, Any]]:
    """One result after another: model, seed, accuracy, wall, cpu (seconds), and of Slipway flips and peak_rss_gb."""
    for seed in range(seeds):
        for peer in peers:
            script = Path(__file__).with_name("image_peer.py")
            command = [sys.executable, str(script), str(data), peer, str(seed)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            yield {"model": PEERS[peer], "seed": seed, **json.loads(done.stdout)}
        for preset in presets:
            job = folder / f"{preset}-{seed}"
            yield {
                "model": f"Slipway {preset}",
                "seed": seed,
                **run_job("image-classification", data, preset, seed, {}, job),
            }


def main() -> None:
    """Print a line of JSON per run as it ends, then a table of means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--file", default="cifar10-small.zip", help="a zip of <train or test>/<class>/<file>")
    parser.add_argument("--presets", default=",".join(GOALS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also append the lines of JSON to this file")
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as temporary:
        data = Path(temporary) / "data.parquet"
        images_from_zip(arguments.data / arguments.file, data)
        peers = [] if arguments.no_peers else list(PEERS)
        for result in runs(data, arguments.presets.split(","), peers, arguments.seeds, Path(temporary)):
            found.setdefault(result["model"], []).append(result)
            line = json.dumps({"data": arguments.file, **result})
            print(line, flush=True)
            if arguments.json:
                with arguments.json.open("a") as file:
                    file.write(line + "\n")
    print("\n| model | test accuracy, mean | each seed | goal | wall s | goal | CPU s | flips | peak RSS GB |")
    print(f"| --- |{' ---: |' * 8}")
    for model, results in found.items():
        print(row(model, results))


def row(model: str, results: list[dict[str, Any]]) -> str:
    """A line of the table."""
    accuracy, seconds = GOALS.get(model.removeprefix("Slipway "), ("", ""))

    def mean(key: str) -> float:
        return statistics.fmean(result[key] for result in results)

    each = ", ".join(f"{result['accuracy']:.3f}" for result in results)
    own = [str(sum(result["flips"] for result in results)), f"{mean('peak_rss_gb'):.2f}"] if accuracy else ["", ""]
    cells = [model, f"{mean('accuracy'):.4f}", each, accuracy, f"{mean('wall'):.0f}", seconds, f"{mean('cpu'):.0f}"]
    return f"| {' | '.join(str(cell) for cell in cells + own)} |"


if __name__ == "__main__":
    main()
