"""How long a job takes before it learns: from the start of its process to its first training step, on toy data.

python benchmarks/training/startup.py [--only text-classification,…] [--rounds 3] [--preset fast]

Nearly all of it is imports. The first event says that the process is there; a step is one of the network's or, of a
recommender, the first setting that was tried. Medians, with the lowest and the highest.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "training")]

from run import run_engine  # noqa: E402

from workers.task_templates import TEMPLATES  # noqa: E402
from workers.task_templates.base import Preset  # noqa: E402

# Steps that are told before training begins.
_PREPARATION = ("Decoding images", "Computing features")
# What keeps a run short, where the template has it.
_SHORT = {"epochs": 1, "trials": 1}


def start_up(key: str, preset: str) -> tuple[float, float, float]:
    """Seconds from the start of a job to its first event, to its first training step, and to its end."""
    template = TEMPLATES[key]
    parameters = {name: value for name, value in _SHORT.items() if name in template.params.model_fields}
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        data = Path(folder) / "data.parquet"
        template.toy_data(data)
        done = run_engine(key, data, preset, 0, parameters, Path(folder) / "job")
        told = [event for event in done.events() if event["type"] == "progress"]
        step = next(event for event in told if event.get("step") and not event["phase"].startswith(_PREPARATION))
        return told[0]["time"] - done.started, step["time"] - done.started, done.wall


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(TEMPLATES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="fast", choices=get_args(Preset))
    arguments = parser.parse_args()
    print("| template | first event, s | first training step, s | end, s |")
    print("| --- | ---: | ---: | ---: |")
    for key in arguments.only.split(","):
        rounds = zip(*(start_up(key, arguments.preset) for _ in range(arguments.rounds)), strict=True)
        cells = (f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})" for times in rounds)
        print(f"| {key} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
