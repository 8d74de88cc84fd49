"""Batch prediction against a loop over the same predictor, in rows per second.

    python -m benchmarks.serving.batch BUNDLE FILE KIND [ROUNDS]

The loop holds all rows in memory and does nothing but `predictor.predict` on lists of 256 (32 of images); the batch
prediction reads the file, predicts, keeps checkpoints and writes the answered file, as a runner's child does. Rounds
alternate; what is printed are medians, and the ratio within each round. Loading the model counts for neither.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from workers.batch.run import answer_file
from workers.batch.sources import open_source
from workers.batch.staging import Staging
from workers.contracts.job import BatchSpec, JobSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.kinds import KINDS, DatasetKind
from workers.inference.core import InputError, Predictor
from workers.serving.bundles import open_bundle


def job(root: Path, bundle: Path, source: Path, kind: DatasetKind) -> JobDir:
    """A job's folder with links to the files."""
    batch = BatchSpec(prediction="prd_" + "a" * 24, project="p", model="m", kind=kind, filename=source.name)
    spec = JobSpec(job="job_a", attempt=1, team="t", kind="batch", inputs=[], output_prefix="o", batch=batch)
    job_dir = JobDir.create(root, spec)
    (job_dir.inputs / "bundle.zip").symlink_to(bundle.resolve())
    (job_dir.inputs / "source").symlink_to(source.resolve())
    return job_dir


def loop(predictor: Predictor, inputs: list[Any], size: int) -> None:
    """Predict all inputs in process."""
    for start in range(0, len(inputs), size):
        items = []
        for raw in inputs[start : start + size]:
            try:
                items.append(predictor.prepare(raw))
            except InputError:
                continue
        predictor.predict(items)


class Times(NamedTuple):
    """What some work took, in seconds: by the clock, and of all cores together."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Times:
    """Do it."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def main(arguments: list[str]) -> None:
    """Measure and print."""
    bundle, source, kind = Path(arguments[0]), Path(arguments[1]), cast(DatasetKind, arguments[2])
    rounds = int(arguments[3]) if len(arguments) > 3 else 5
    with tempfile.TemporaryDirectory() as folder:
        first = job(Path(folder) / "first", bundle, source, kind)
        predictor = open_bundle(first.inputs / "bundle.zip").predictor
        spec, size = first.spec().batch, KINDS[kind].max_inputs
        assert spec is not None
        with Staging(first, spec) as staging, closing(open_source(staging, spec, predictor.manifest)) as opened:
            inputs = [raw for block in opened.blocks(size, 0) for raw in block.inputs if raw is not None]
        loops, jobs = [], []
        for number in range(rounds):
            job_dir = job(Path(folder) / f"round-{number}", bundle, source, kind)
            loops.append(timed(lambda: loop(predictor, inputs, size)))
            jobs.append(timed(partial(answer_file, job_dir, predictor)))
    print(f"{len(inputs):,} rows, {rounds} rounds")
    for name in Times._fields:
        bare, whole = ([getattr(one, name) for one in times] for times in (loops, jobs))
        ratios = [alone / all_of_it for alone, all_of_it in zip(bare, whole, strict=True)]
        rates = [f"{len(inputs) / statistics.median(times):,.0f}" for times in (bare, whole)]
        print(f"{name:>5}: in process {rates[0]} rows/s, as a job {rates[1]};", end=" ")
        print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main(sys.argv[1:])
