"""Batch prediction against a loop over the same predictor, in rows per second of computing.

    python -m benchmarks.serving.batch BUNDLE FILE KIND [ROUNDS]

The loop holds all rows in memory and does nothing but `predictor.predict` on lists of 256 (32 of images); the batch
prediction reads the file, predicts, keeps checkpoints and writes the answered file, as a runner's child does. Rounds
alternate; what is printed are medians, and the ratio within each round. Loading the model counts for neither.
"""

import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from workers.batch.run import run
from workers.batch.sources import open_source
from workers.contracts.job import BatchSpec, JobSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.kinds import KINDS, DatasetKind
from workers.inference.core import InputError
from workers.serving.bundles import Loaded, open_bundle


def job(root: Path, bundle: Path, source: Path, kind: DatasetKind) -> JobDir:
    """A job's folder with links to the files."""
    batch = BatchSpec(prediction="prd_" + "a" * 24, project="p", model="m", kind=kind, filename=source.name)
    spec = JobSpec(job="job_a", attempt=1, team="t", kind="batch", inputs=[], output_prefix="o", batch=batch)
    job_dir = JobDir.create(root, spec)
    (job_dir.inputs / "bundle.zip").symlink_to(bundle.resolve())
    (job_dir.inputs / "source").symlink_to(source.resolve())
    return job_dir


def loop(loaded: Loaded, inputs: list[Any], size: int) -> float:
    """Seconds to predict all inputs in process."""
    predictor = loaded.predictor
    started = time.perf_counter()
    for start in range(0, len(inputs), size):
        items = []
        for raw in inputs[start : start + size]:
            try:
                items.append(predictor.prepare(raw))
            except InputError:
                continue
        predictor.predict(items)
    return time.perf_counter() - started


def main(arguments: list[str]) -> None:
    """Measure and print."""
    bundle, source, kind = Path(arguments[0]), Path(arguments[1]), cast(DatasetKind, arguments[2])
    rounds = int(arguments[3]) if len(arguments) > 3 else 5
    with tempfile.TemporaryDirectory() as folder:
        first = job(Path(folder) / "first", bundle, source, kind)
        loaded = open_bundle(first.inputs / "bundle.zip")
        spec = first.spec().batch
        assert spec is not None
        size = KINDS[kind].max_inputs
        with closing(open_source(first, spec, loaded.predictor.manifest)) as opened:
            inputs = [raw for block in opened.blocks(size, 0) for raw in block.inputs if raw is not None]
        loops, jobs = [], []
        for number in range(rounds):
            loops.append(len(inputs) / loop(loaded, inputs, size))
            result = run(job(Path(folder) / f"round-{number}", bundle, source, kind))
            jobs.append(result.rows / result.seconds)
    ratios = [done / bare for done, bare in zip(jobs, loops, strict=True)]
    print(f"rows {len(inputs):,}; in process {statistics.median(loops):,.0f} rows/s; as a job", end=" ")
    print(f"{statistics.median(jobs):,.0f} rows/s; ratio {statistics.median(ratios):.2f}", end=" ")
    print(f"({min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds)")


if __name__ == "__main__":
    main(sys.argv[1:])
