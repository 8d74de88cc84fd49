"""Train on real data and print a table: test accuracy, seconds, CPU seconds, certificate, beside the bars to clear.

python benchmarks/training/run.py [--data FOLDER] [--preset fast] [--only sms,trec,cifar10-small]
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "training")]

from data import images_from_zip, texts_from_csv  # noqa: E402

from workers.contracts.job import DatasetRef, JobSpec, TrainSpec  # noqa: E402
from workers.contracts.jobdir import JobDir  # noqa: E402
from workers.task_templates import TEMPLATES  # noqa: E402


class Case(NamedTuple):
    """A data set, how it becomes data.parquet, and the best of the peers' figures."""

    template: str
    file: str
    convert: Callable[[Path, Path], None]
    bar: float
    bar_from: str


CASES = {
    "sms": Case(
        "text-classification",
        "sms.csv",
        lambda source, target: texts_from_csv(source, "text", "label", target),
        0.9865,
        "TF-IDF words + characters, logistic regression",
    ),
    "trec": Case(
        "text-classification",
        "trec.csv",
        lambda source, target: texts_from_csv(source, "question", "type", target),
        0.900,
        "fastText",
    ),
    "cifar10-small": Case(
        "image-classification", "cifar10-small.zip", images_from_zip, 0.540, "Keras tutorial CNN (full test set)"
    ),
}


class Done(NamedTuple):
    """A job that is over: its folder, when it was started (time.time), seconds, and what the kernel says it took."""

    job_dir: JobDir
    started: float
    wall: float
    usage: resource.struct_rusage

    def events(self) -> list[dict[str, Any]]:
        """What it told, in order."""
        return [json.loads(line) for line in self.job_dir.events_path.read_text().splitlines()]


def run_engine(template: str, data: Path, preset: str, seed: int, parameters: dict[str, Any], folder: Path) -> Done:
    """One run of the engine in a process of its own, as a runner starts it."""
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "data.parquet").symlink_to(data)
    with data.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    dataset = DatasetRef(
        dataset="benchmark",
        version="1",
        number=1,
        content_hash=content,
        kind=TEMPLATES[template].kind,
        name=data.name,
    )
    spec = TrainSpec.model_validate(
        {"template": template, "preset": preset, "parameters": parameters, "dataset": dataset}
        | {"model_name": data.name, "seed": seed}
    )
    job = JobSpec(job="benchmark", attempt=1, team="benchmark", kind="train", inputs=[], output_prefix="-", train=spec)
    job_dir = JobDir.create(folder, job)
    started = time.time()
    command = [sys.executable, "-m", "workers.engine", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    # Not process.wait(): the kernel tells what this one process took.
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.time() - started
    if status:
        raise SystemExit(job_dir.events_path.read_text()[-2000:])
    return Done(job_dir, started, wall, usage)


def run_job(
    template: str, data: Path, preset: str, seed: int, parameters: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """A classifier's run: its accuracy and what it took.

    wall, cpu, first_progress in seconds; peak_rss_gb in 10⁹ bytes; flips; bundle_mb.
    """
    done = run_engine(template, data, preset, seed, parameters, folder)
    result, usage = json.loads(done.job_dir.result_path.read_text()), done.usage
    first = next(event["time"] for event in done.events() if event["type"] == "progress")
    return {
        "preset": preset,
        "accuracy": result["metrics"]["test"]["accuracy"],
        "macro_f1": result["metrics"]["test"]["macro_f1"],
        "wall": round(done.wall, 2),
        "cpu": round(usage.ru_utime + usage.ru_stime, 2),
        "first_progress": round(first - done.started, 2),
        "flips": result["certificate"]["label_flips"],
        "bundle_mb": result["files"]["bundle.zip"]["bytes"] / 1e6,
        "peak_rss_gb": round(usage.ru_maxrss * 1024 / 1e9, 3),
    }


def main() -> None:
    """Run the chosen cases one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parameters", type=json.loads, default={})
    arguments = parser.parse_args()
    print("| data | preset | test accuracy | macro F1 | peer | wall s | CPU s | first progress s | flips | bundle MB |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name in arguments.only.split(","):
        case = CASES[name]
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
            data = Path(folder) / "data.parquet"
            case.convert(arguments.data / case.file, data)
            chosen = (arguments.preset, arguments.seed, arguments.parameters)
            found = run_job(case.template, data, *chosen, Path(folder) / "job")
        print(
            f"| {name} | {arguments.preset} | {found['accuracy']:.4f} | {found['macro_f1']:.4f} | {case.bar:.4f} "
            f"({case.bar_from}) | {found['wall']:.1f} | {found['cpu']:.1f} | {found['first_progress']:.1f} "
            f"| {found['flips']} | {found['bundle_mb']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
