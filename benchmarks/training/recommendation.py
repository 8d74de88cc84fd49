"""Recommenders beside implicit's ALS, BPR and item-kNN, by one protocol, in one run on one machine.

    python -m benchmarks.training.recommendation ../shared/data/lastfm.csv:user:artist
    python -m benchmarks.training.recommendation --movielens ratings.csv:user:item:rating:time

A source is FILE:USER:ITEM[:RATING[:TIME]], a CSV file and its columns. A column `split` (train, test) is kept; else
the last tenth of each user's items by time, or a random one, is test, as in an import. `--movielens` adds MovieLens
100k, which the package recbole carries. The peer's settings are tuned on the same validation rows. Slipway's figures
are those of whole jobs with default parameters: reading, search, final fit, evaluation, export, parity check. Every
list is ranked from all items without what the user met, and judged by one function. A table in Markdown, then a JSON
line per row.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import scipy.sparse

from workers.contracts.job import DatasetRef, JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.engine.ranking import evaluate, popularity
from workers.engine.recommenders.interactions import TEST, TRAIN, VALIDATION, HeldOut, Histories, histories, hold_out
from workers.engine.recommenders.measures import per_user
from workers.engine.recommenders.reading import read_log
from workers.ingest.splits import by_user

PEER = "implicit==0.7.3"
MOVIELENS = "recbole==1.2.1"
COLUMNS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
PRESETS = ("fast", "balanced", "best")


def convert(source: str, target: Path) -> None:
    """FILE:USER:ITEM[:RATING[:TIME]] as an import would store it."""
    path, user, item, *others = source.split(":")
    with open(path, encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns: dict[str, Any] = {
        "row": list(range(len(rows))),
        "user": [row[user] for row in rows],
        "item": [row[item] for row in rows],
    }
    for name, column in zip(("rating", "timestamp"), others, strict=False):
        if column:
            columns[name] = [float(row[column]) for row in rows]
    if "timestamp" in columns:
        columns["timestamp"] = [int(value) for value in columns["timestamp"]]
    if "split" in rows[0]:
        columns["split"] = [row["split"] for row in rows]
    else:
        users = np.unique(columns["user"], return_inverse=True)[1]
        order = np.asarray(columns.get("timestamp", np.random.default_rng(0).random(len(rows))))
        columns["split"] = np.array(["train", "validation", "test"])[by_user(users, order, (TEST, VALIDATION))]
    pyarrow.parquet.write_table(pyarrow.table(columns), target)


def movielens(folder: Path) -> str:
    """MovieLens 100k as a source, out of the package that carries it."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", MOVIELENS, "-d", str(folder)]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("recbole-*.whl"))) as wheel:
        lines = wheel.read("recbole/dataset_example/ml-100k/ml-100k.inter").decode().splitlines()[1:]
    target = folder / "movielens-100k.csv"
    target.write_text("user,item,rating,time\n" + "\n".join(line.replace("\t", ",") for line in lines))
    return f"{target}:user:item:rating:time"


def job_folder(folder: Path, data: Path, name: str, preset: str, parameters: dict[str, Any], seed: int) -> JobDir:
    """The folder of a train job that reads `data`."""
    dataset = DatasetRef(dataset="d", version="v", number=1, content_hash="h", kind="recommendation", name=name)
    train = TrainSpec.model_validate(
        {
            "template": "recommendation",
            "preset": preset,
            "parameters": parameters,
            "dataset": dataset,
            "model_name": name,
            "seed": seed,
        }
    )
    spec = JobSpec(job="job_benchmark", attempt=1, team="t", kind="train", inputs=[], output_prefix="o", train=train)
    job_dir = JobDir.create(folder, spec)
    (job_dir.inputs / "data.parquet").symlink_to(data.resolve())
    return job_dir


def run_job(job_dir: JobDir) -> dict[str, Any]:
    """One train job by the engine's own command; its result with wall and CPU seconds."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "workers.engine", str(job_dir.root)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the job in {job_dir.root} failed")
    result: dict[str, Any] = json.loads(job_dir.result_path.read_bytes())
    return {**result, "wall": time.monotonic() - started, "cpu": usage.ru_utime + usage.ru_stime}


def run_peers(python: Path, folder: Path, data: Path, seed: int) -> dict[str, tuple[dict[str, float], dict[str, Any]]]:
    """Test metrics of each family, and what was chosen; users without a history get the popular items, as ours do."""
    log, _ = read_log(data, "ignore", None, seed)
    first, known = histories(log, log.split == TRAIN), histories(log, log.split != TEST)
    validation, test = hold_out(log, log.split == VALIDATION, first), hold_out(log, log.split == TEST, known)
    relevant, totals = _by_row(first, validation)
    arrays = {"totals": totals}
    for name, matrix in {"first": first.matrix, "validation": relevant, "known": known.matrix}.items():
        arrays |= {f"{name}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr", "shape")}
    np.savez(folder / "data.npz", **arrays)
    command = [str(python), str(Path(__file__).with_name("recommendation_peer.py")), str(folder), str(seed)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    popular = evaluate(popularity(known), known, test).best
    found = {}
    with np.load(folder / "lists.npz") as lists:
        for line in map(json.loads, told.splitlines()):
            best = np.where(test.rows[:, None] >= 0, lists[line["family"]][test.rows], popular)
            hits = np.take_along_axis(test.relevant.toarray(), best, axis=1)
            values = per_user(hits, test.totals)
            found[f"implicit {line['family']}"] = {name: float(column.mean()) for name, column in values.items()}, line
    return found


def _by_row(known: Histories, held: HeldOut) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Held-out items by row of the histories, and how many each row has."""
    here = held.rows >= 0
    chosen = held.relevant[here].tocoo()
    shape = known.matrix.shape
    totals = np.zeros(shape[0], np.int64)
    totals[held.rows[here]] = held.totals[here]
    ones = np.ones(chosen.nnz, np.float32)
    return scipy.sparse.csr_array((ones, (held.rows[here][chosen.row], chosen.col)), shape=shape), totals


def main() -> None:
    """Print a table in Markdown, and a JSON line per row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", help="FILE:USER:ITEM[:RATING[:TIME]]")
    parser.add_argument("--movielens", action="store_true", help="MovieLens 100k too")
    parser.add_argument("--presets", nargs="*", default=PRESETS, choices=PRESETS)
    parser.add_argument("--seeds", type=int, default=3, help="figures are means over so many")
    parser.add_argument("--no-peers", action="store_true", help="only Slipway")
    arguments = parser.parse_args()
    lines: list[dict[str, Any]] = []
    print(f"| data | model | {' | '.join(COLUMNS)} | wall s | CPU s | note |\n|{' --- |' * (len(COLUMNS) + 5)}")

    def row(data: str, model: str, runs: list[dict[str, float]], note: str) -> None:
        mean = {name: float(np.mean([run[name] for run in runs])) for name in (*COLUMNS, "wall", "cpu")}
        cells = [f"{mean[name]:.4f}" for name in COLUMNS] + [f"{mean['wall']:.1f}", f"{mean['cpu']:.1f}"]
        print(f"| {data} | {model} | {' | '.join(cells)} | {note} |", flush=True)
        lines.append({"data": data, "model": model, **mean, "seeds": len(runs), "note": note})

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python = folder / "peer" / "bin" / "python"
        if not arguments.no_peers:
            venv.create(folder / "peer", with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-q", PEER], check=True)
        sources = [*arguments.sources, *([movielens(folder)] if arguments.movielens else [])]
        for number, source in enumerate(sources):
            name, data = Path(source.split(":")[0]).stem, folder / f"{number}.parquet"
            convert(source, data)
            if not arguments.no_peers:
                peers = [run_peers(python, folder, data, seed) for seed in range(arguments.seeds)]
                for model in peers[0]:
                    runs = [{**one[model][0], "wall": one[model][1]["seconds"], "cpu": np.nan} for one in peers]
                    row(name, model, runs, json.dumps(peers[0][model][1]["settings"]))
            for preset in arguments.presets:
                jobs = [
                    run_job(job_folder(folder / f"{number}-{preset}-{seed}", data, name, preset, {}, seed))
                    for seed in range(arguments.seeds)
                ]
                runs = [{**job["metrics"]["test"], "wall": job["wall"], "cpu": job["cpu"]} for job in jobs]
                flips = sum(job["certificate"]["label_flips"] for job in jobs)
                row(name, f"Slipway {preset}", runs, f"{jobs[0]['report']['algorithm']['name']}; {flips} flips")
    for line in lines:
        print(json.dumps(line))


if __name__ == "__main__":
    main()
