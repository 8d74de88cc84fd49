"""Batch prediction against a loop over the same predictor, in rows per second.

    python benchmarks/serving/batch.py [BUNDLE FILE KIND] [--rounds 5] [--rows 40000]

The loop holds all rows in memory and does nothing but `predictor.predict` on lists of 256 (32 of images); the batch
prediction reads the file, predicts, keeps checkpoints and writes the answered file, as a runner's child does. Rounds
alternate; what is printed are medians, and the ratio within each round. Loading the model counts for neither.
"""

import argparse
import gzip
import random
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.servers import Table, machine
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


def made(folder: Path, rows: int) -> Iterator[tuple[Path, Path, DatasetKind]]:
    """The small models of the other benches, and files for them: a table of texts in each format; a zip of images."""
    rng, words = random.Random(0), models.TEXT.split()
    texts = pl.DataFrame({"id": range(rows), "text": [" ".join(rng.choices(words, k=18)) for _ in range(rows)]})
    bundle = models.text_bundle(folder / "text.zip")
    (folder / "texts.csv.gz").write_bytes(gzip.compress(texts.write_csv().encode(), 1))
    texts.write_ndjson(folder / "texts.jsonl")
    texts.write_parquet(folder / "texts.parquet")
    yield from ((bundle, folder / f"texts.{end}", "text") for end in ("csv.gz", "jsonl", "parquet"))
    images = folder / "images.zip"
    with zipfile.ZipFile(images, "w") as packed:
        for number in range(rows // 20):
            packed.writestr(f"{number}.jpg", models.jpeg())
    yield models.image_bundle(folder / "image.zip"), images, "image"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("own", nargs="*", metavar="BUNDLE FILE KIND", help="instead of the small models of the others")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=40_000, help="of texts; images are a twentieth of that")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        own = [(Path(options.own[0]), Path(options.own[1]), cast(DatasetKind, options.own[2]))] if options.own else None
        title = "Batch prediction against a loop over the same model (ratio: median, least and most of the rounds)"
        table = Table(title, "file", "rows", "clock", "loop rows/s", "job rows/s", "ratio", "least", "most")
        for number, case in enumerate(own or made(Path(folder), options.rows)):
            compare(Path(folder) / str(number), *case, options.rounds, table)


def compare(folder: Path, bundle: Path, source: Path, kind: DatasetKind, rounds: int, table: Table) -> None:
    """Measure and print."""
    first = job(folder / "first", bundle, source, kind)
    predictor = open_bundle(first.inputs / "bundle.zip", cores=1).predictor
    spec, size = first.spec().batch, KINDS[kind].max_inputs
    assert spec is not None
    with Staging(first, spec) as staging, closing(open_source(staging, spec, predictor.manifest)) as opened:
        inputs = [raw for block in opened.blocks(size, 0) for raw in block.inputs if raw is not None]
    loops, jobs = [], []
    for number in range(rounds):
        job_dir = job(folder / f"round-{number}", bundle, source, kind)
        loops.append(timed(lambda: loop(predictor, inputs, size)))
        jobs.append(timed(partial(answer_file, job_dir, predictor)))
    for name in Times._fields:
        bare, whole = ([getattr(one, name) for one in times] for times in (loops, jobs))
        ratios = [alone / all_of_it for alone, all_of_it in zip(bare, whole, strict=True)]
        rates = [len(inputs) / statistics.median(times) for times in (bare, whole)]
        table.row(source.name, len(inputs), name, *rates, statistics.median(ratios), min(ratios), max(ratios))


if __name__ == "__main__":
    main()
