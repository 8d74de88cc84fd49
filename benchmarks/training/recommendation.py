"""Recommendation on Last.fm, beside implicit's ALS and BPR, by one protocol, in one run on one machine.

    python -m benchmarks.training.recommendation ../shared/data/lastfm.csv

The file has the columns user, artist and split (train, test). Slipway's figures are those of whole jobs: reading, a
search on validation rows of its own, final fit, evaluation, export, parity check. The peer is installed in an
environment of its own and told its settings. Every list is ranked from all items without the train rows, and judged by
one function.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from workers.contracts.job import DatasetRef, JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.engine.ranking import evaluate, measure
from workers.engine.recommenders.interactions import TEST, HeldOut, Histories, histories, hold_out
from workers.engine.recommenders.reading import read_log

PEER = "implicit==0.7.3"
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "Slipway, fast (EASE)": ("fast", {}),
    "Slipway, balanced (EASE)": ("balanced", {}),
    "Slipway, fast, ALS": ("fast", {"algorithm": "als"}),
}
PEERS = {
    "implicit ALS, 64 factors": {"model": "als", "factors": 64},
    "implicit ALS, 128 factors, alpha 10": {"model": "als", "factors": 128, "alpha": 10.0},
    "implicit BPR, 64 factors": {"model": "bpr", "factors": 64},
}


def convert(source: Path, target: Path) -> None:
    """The CSV file as an import would store it."""
    with open(source, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = {"user": "user", "item": "artist", "split": "split"}
    columns: dict[str, Any] = {ours: [row[theirs] for row in rows] for ours, theirs in names.items()}
    pyarrow.parquet.write_table(pyarrow.table({"row": list(range(len(rows))), **columns}), target)


def run_job(folder: Path, data: Path, preset: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """One train job by the engine's own command; its result with `wall_seconds`."""
    dataset = DatasetRef(dataset="d", version="v", number=1, content_hash="h", kind="recommendation", name="Last.fm")
    train = TrainSpec.model_validate(
        {
            "template": "recommendation",
            "preset": preset,
            "parameters": parameters,
            "dataset": dataset,
            "model_name": "Last.fm",
        }
    )
    spec = JobSpec(job="job_benchmark", attempt=1, team="t", kind="train", inputs=[], output_prefix="o", train=train)
    job_dir = JobDir.create(folder, spec)
    (job_dir.inputs / "data.parquet").symlink_to(data)
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "workers.engine", str(folder)], check=True)
    result: dict[str, Any] = json.loads(job_dir.result_path.read_bytes())
    return {**result, "wall_seconds": time.monotonic() - started}


def run_peers(folder: Path, known: Histories, held: HeldOut) -> dict[str, tuple[dict[str, float], float]]:
    """Metrics and train seconds of the peer's models; users without a history are left to popularity, as ours are."""
    venv.create(folder / "peer", with_pip=True)
    python = folder / "peer" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", PEER], check=True)
    matrix = known.matrix
    np.savez(folder / "train.npz", data=matrix.data, indices=matrix.indices, indptr=matrix.indptr, shape=matrix.shape)
    found = {}
    for name, settings in PEERS.items():
        script = Path(__file__).with_name("recommendation_peer.py")
        command = [str(python), str(script), str(folder), json.dumps(settings)]
        seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        lists = np.load(folder / "lists.npy")
        ranked = {row: numbers for row, numbers in zip(held.rows.tolist(), lists[held.rows], strict=True) if row >= 0}
        popular = evaluate(lambda batch: np.tile(known.shares, (batch.shape[0], 1)), known, held).best
        best = np.stack([ranked.get(row, popular[place]) for place, row in enumerate(held.rows.tolist())])
        hits = np.take_along_axis(held.relevant.toarray(), best, axis=1)
        found[name] = measure(hits, held.totals), seconds
    return found


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="lastfm.csv")
    parser.add_argument("--no-peers", action="store_true", help="only Slipway")
    arguments = parser.parse_args()
    columns = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
    print(f"| model | {' | '.join(columns)} | train s | whole job s | label flips |\n|{' --- |' * 8}")

    def line(name: str, metrics: dict[str, float], train: str, whole: str, flips: str) -> None:
        print(
            f"| {name} | {' | '.join(f'{metrics[c]:.4f}' for c in columns)} | {train} | {whole} | {flips} |", flush=True
        )

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        convert(arguments.source, folder / "data.parquet")
        for place, (name, (preset, parameters)) in enumerate(OURS.items()):
            result = run_job(folder / f"job-{place}", folder / "data.parquet", preset, parameters)
            test = result["metrics"]["test"]
            if not place:
                line("popularity", test["popularity"], "0", "", "")
            flips = str(result["certificate"]["label_flips"])
            line(name, test, f"{result['useful_seconds']:.1f}", f"{result['wall_seconds']:.1f}", flips)
        if not arguments.no_peers:
            log, _ = read_log(folder / "data.parquet", "auto", None, 0)
            known = histories(log, log.split != TEST)
            for name, (metrics, seconds) in run_peers(folder, known, hold_out(log, log.split == TEST, known)).items():
                line(name, metrics, f"{seconds:.1f}", "", "")


if __name__ == "__main__":
    main()
