"""Ten million interactions of 200,000 users and 50,000 items: in how much memory it trains, and how fast it is served.

    python -m benchmarks.training.recommendation_scale

The interactions are generated: items have a popularity that falls like 1/rank^0.8 and a group, users two groups that
they like most. The job is a whole one: reading, search, final fit, evaluation, export, parity check.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from benchmarks.training.recommendation import job_folder
from workers.contracts.jobdir import JobDir
from workers.inference.runtime import load

GROUPS = 100
_BATCH = 5_000
_GIGABYTE = 2**20  # ru_maxrss counts kilobytes


def generate(path: Path, users: int, items: int, rows: int, seed: int = 0) -> int:
    """Write data.parquet as an import would; the number of rows, which is about `rows`."""
    source = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    group = source.integers(0, GROUPS, items)
    members = [np.flatnonzero(group == number) for number in range(GROUPS)]
    within = [np.cumsum(popularity[chosen]) / popularity[chosen].sum() for chosen in members]
    anywhere = np.cumsum(popularity) / popularity.sum()
    names = pyarrow.array([f"item-{number:06}" for number in range(items)])
    splits = pyarrow.array(["train", "validation", "test"])
    schema = pyarrow.schema(
        [("row", pyarrow.int64()), ("user", pyarrow.string()), ("item", pyarrow.string()), ("split", pyarrow.string())]
    )
    written = 0
    with pyarrow.parquet.ParquetWriter(path, schema, use_dictionary=["user", "item", "split"]) as writer:
        for start in range(0, users, _BATCH):
            count = min(_BATCH, users - start)
            lengths = np.clip(source.lognormal(np.log(rows / users) - 0.32, 0.8, count), 5, 1000).astype(int)
            user = np.repeat(np.arange(count), lengths)
            favourite = source.integers(0, GROUPS, (count, 2))
            chosen = favourite[user, (source.random(len(user)) < 0.3).astype(int)]
            chosen[source.random(len(user)) < 0.2] = -1
            item = np.searchsorted(anywhere, source.random(len(user)))
            for number in range(GROUPS):
                here = chosen == number
                item[here] = members[number][np.searchsorted(within[number], source.random(int(here.sum())))]
            pairs = np.unique(user * items + np.minimum(item, items - 1))
            user, item = np.divmod(source.permutation(pairs), items)
            draw = source.random(len(user))
            split = np.where(draw < 0.8, 0, np.where(draw < 0.9, 1, 2))
            columns = {
                "row": pyarrow.array(np.arange(written, written + len(user))),
                "user": pyarrow.array([f"user-{start + number:07}" for number in range(count)]).take(user),
                "item": names.take(item),
                "split": splits.take(split),
            }
            writer.write_table(pyarrow.table(columns, schema=schema))
            written += len(user)
    return written


def served(bundle: Path, folder: Path, queries: int) -> dict[str, float]:
    """Milliseconds of single requests for ten items, one thread, and the peak memory of this process, in GB."""
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(bundle), str(folder)], check=True)
    predictor = load(folder, threads=1)
    items = [predictor.prepare({"user": f"user-{number * 7:07}"}) for number in range(queries)]
    times = []
    for item in items:
        started = time.perf_counter()
        predictor.predict([item])
        times.append((time.perf_counter() - started) * 1000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _GIGABYTE
    return {"p50_ms": float(np.median(times)), "p99_ms": float(np.percentile(times, 99)), "serving_gb": peak}


def main() -> None:
    """Print what was measured, as JSON, and the log of the job before it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--queries", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = generate(folder / "data.parquet", arguments.users, arguments.items, arguments.rows)
        job_dir: JobDir = job_folder(folder / "job", folder / "data.parquet", "scale", arguments.preset, {}, seed=0)
        started = time.monotonic()
        process = subprocess.Popen([sys.executable, "-m", "workers.engine", str(job_dir.root)])
        _, status, usage = os.wait4(process.pid, 0)
        for line in job_dir.events_path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["type"] in ("log", "failed"):
                print(event.get("message") or event, flush=True)
        if status:
            raise SystemExit(f"the job failed: {status}")
        result: dict[str, Any] = json.loads(job_dir.result_path.read_bytes())
        print(
            json.dumps(
                {
                    "rows": rows,
                    "users": arguments.users,
                    "items": arguments.items,
                    "preset": arguments.preset,
                    "peak_gb": usage.ru_maxrss / _GIGABYTE,
                    "cpu_seconds": usage.ru_utime + usage.ru_stime,
                    "wall_seconds": time.monotonic() - started,
                    "algorithm": result["report"]["algorithm"]["name"],
                    "test": result["metrics"]["test"],
                    "certificate": result["certificate"],
                    "bundle_mb": (job_dir.output / "bundle.zip").stat().st_size / 2**20,
                    **served(job_dir.output / "bundle.zip", folder / "bundle", arguments.queries),
                }
            )
        )


if __name__ == "__main__":
    main()
