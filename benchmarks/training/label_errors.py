"""How many planted label errors a training finds: a share of all labels is replaced by another one at random.

python benchmarks/training/label_errors.py [--data FOLDER] [--only sms,trec,cifar10-small] [--shares 0.02,0.05,0.1]
    [--preset fast] [--parameters '{}']

`looked at`: the share of rows that could be judged; all figures are of these. Precision: of the suspected labels, how
many were planted; recall: of the planted ones, how many are suspected. The sets have errors of their own, which count
as wrongly suspected here. `ranked`: average precision of the planted ones in the order of suspicion. `renamed right`:
of the planted ones that are suspected, how many are given their old label; `expected`: the precision that the report
foretells. Cost: seconds of looking for them, of the
whole job's.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "training")]

import numpy as np  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402
from run import CASES, Done, run_engine  # noqa: E402


def plant(source: Path, target: Path, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Write the set with a share of its labels replaced; the true labels, and which rows were changed."""
    table = pyarrow.parquet.read_table(source)
    truth = np.array(table["label"].to_pylist(), dtype=object)
    names, places = np.unique(truth.astype(str), return_inverse=True)
    chance = np.random.default_rng(seed)
    wrong = np.zeros(len(truth), dtype=bool)
    wrong[chance.permutation(len(truth))[: round(share * len(truth))]] = True
    # Any label but the own one, each as likely.
    places = np.where(wrong, (places + chance.integers(1, len(names), len(truth))) % len(names), places)
    labels = pyarrow.array(names[places].tolist())
    table = table.set_column(table.schema.get_field_index("label"), "label", labels)
    pyarrow.parquet.write_table(table, target, row_group_size=1000)
    return truth, wrong


def judged(done: Done, truth: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """Share of rows looked at, precision, recall, ranked, renamed, suspected, and seconds."""
    found = pyarrow.parquet.read_table(done.job_dir.output / "suspects.parquet")
    rows = found["row"].to_numpy()
    looked_at, truth, wrong = len(rows) / len(wrong), truth[rows], wrong[rows]
    suspect, suspicion = found["suspect"].to_numpy(), found["suspicion"].to_numpy()
    hits = suspect & wrong
    ordered = wrong[np.argsort(-suspicion, kind="stable")]
    precision_at = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    predicted = np.array(found["predicted"].to_pylist(), dtype=object)
    report = json.loads(done.job_dir.result_path.read_text())["report"]
    told = next(event["message"] for event in done.events() if "labels look wrong" in event.get("message", ""))
    match = re.search(r"in ([0-9.]+) s", told)
    assert match
    return {
        "looked_at": looked_at,
        "planted": int(wrong.sum()),
        "suspected": int(suspect.sum()),
        "expected": report["suspected_labels"]["expected"] / max(1, suspect.sum()),
        "precision": hits.sum() / max(1, suspect.sum()),
        "recall": hits.sum() / wrong.sum(),
        "ranked": (precision_at * ordered).sum() / wrong.sum(),
        "renamed": float((predicted == truth)[hits].mean()),
        "seconds": float(match[1]),
        "job_seconds": done.wall,
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--shares", default="0.02,0.05,0.1")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--parameters", type=json.loads, default={})
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(
        "| data | preset | looked at | planted | suspected | precision | expected | recall | ranked | renamed right "
        "| looked for, s | job, s |"
    )
    print("| --- | --- |" + " ---: |" * 10, flush=True)
    for name in arguments.only.split(","):
        case = CASES[name]
        for share in map(float, arguments.shares.split(",")):
            with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
                clean, data = Path(folder) / "clean.parquet", Path(folder) / "data.parquet"
                case.convert(arguments.data / case.file, clean)
                truth, wrong = plant(clean, data, share, arguments.seed)
                chosen = (arguments.preset, arguments.seed, arguments.parameters)
                found = judged(run_engine(case.template, data, *chosen, Path(folder) / "job"), truth, wrong)
            print(
                f"| {name} | {arguments.preset} | {found['looked_at']:.0%} | {found['planted']} ({share:.0%}) "
                f"| {found['suspected']} "
                f"| {found['precision']:.2f} | {found['expected']:.2f} | {found['recall']:.2f} "
                f"| {found['ranked']:.2f} | {found['renamed']:.2f} "
                f"| {found['seconds']:.1f} | {found['job_seconds']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
