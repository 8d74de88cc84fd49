"""How long a look into a version of 1,000,000 rows takes, through HTTP, the count of all matches included.

python benchmarks/ingest/browse.py [--rows 1000000] [--words 18] [--rounds 20] [--json]

Makes a text dataset in a fresh home (rows of data.parquet, findings and a model's opinions are generated: what is
measured is the browser, not the import), starts Slipway, and asks for each kind of page `--rounds` times, the kinds in
turn, each search for another word. Prints the median and the 95th percentile in ms, the mean of the web process's
processor time (which says more on a machine that is busy otherwise), the first answer of each kind (one of them makes
the index), and the peak resident memory of the web process before and after.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.stack import Stack, start  # noqa: E402
from workers.ingest.parquet_out import GROUP_ROWS, TEXT_SCHEMA, GroupWriter  # noqa: E402

LABELS = ("billing", "delivery", "praise", "refund", "spam")
CODES = ("duplicate_rows", "text_personal", "text_markup")
RARE = "zyxxyz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=18, help="of a text, about 6.5 characters each")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-browse-") as home:
        stack = start(Path(home))
        try:
            words = furnish(Path(home), asked.rows, asked.words)
            report = measure(stack, adopt(stack, Path(home), asked.rows), asked.rows, asked.rounds, words)
        finally:
            stack.stop()
    if asked.json:
        print(json.dumps(report))
        return
    for name, line in report.items():
        print(f"{name:24}", line)


def furnish(home: Path, rows: int, words: int) -> list[str]:
    """The files of a version, below the home's storage; gives the words that its texts are made of."""
    folder = home / "storage" / "benchmark"
    folder.mkdir(parents=True)
    draw, numbers = random.Random(7), np.random.default_rng(7)
    letters = "abcdefghijklmnopqrstuvwxyz"
    known = sorted({"".join(draw.choices(letters, k=draw.randint(3, 9))).capitalize() for _ in range(30_000)})
    chinese = [chr(code) for code in range(0x4E00, 0x5E00)]
    made: dict[str, list[Any]] = {name: [] for name in TEXT_SCHEMA.names}
    with GroupWriter(folder / "data.parquet", TEXT_SCHEMA) as out:
        for row in range(rows):
            if row % 10 == 0:
                text = "".join(draw.choices(chinese, k=words * 2))
            else:
                text = " ".join(draw.choices(known, k=words))
            if row % 50_000 == 77:
                text += f" {RARE}"
            split = "train" if row % 10 < 8 else ("validation", "test")[row % 2]
            label = LABELS[row * row % 97 % 5]
            for name, value in zip(made, (row, split, f"{row:016x}", text, label), strict=True):
                made[name].append(value)
            if len(made["row"]) == GROUP_ROWS or row == rows - 1:
                out.add_group(pa.table(made, TEXT_SCHEMA))
                made = {name: [] for name in made}
    places = np.flatnonzero(numbers.random(rows) < 0.05).astype(np.int32)
    codes = pa.DictionaryArray.from_arrays(pa.array(places % 3), pa.array(CODES))
    pq.write_table(pa.table({"row": places, "code": codes}), folder / "findings.parquet")
    predicted = pa.DictionaryArray.from_arrays(pa.array(numbers.integers(0, 5, rows, np.int32)), pa.array(LABELS))
    suspicion = numbers.random(rows, np.float32)
    about = {"row": np.arange(rows, dtype=np.int32), "predicted": predicted, "label_probability": 1 - suspicion}
    table = pa.table({**about, "suspicion": suspicion, "suspect": suspicion > 0.97})
    pq.write_table(table, folder / "suspects.parquet", row_group_size=100_000)
    return known


ADOPT = """
from django.utils import timezone
from apps.datasets.models import Dataset, DatasetVersion
from apps.projects.models import Project
from apps.teams.models import Team
project = Project.objects.first() or Project.objects.create(team=Team.objects.first(), name="Benchmark")
dataset = Dataset.objects.create(project=project, name="A million", kind="text")
keys = {"data_key": "data", "findings_key": "findings", "suspects_key": "suspects"}
DatasetVersion.objects.create(
    dataset=dataset, number=1, state="ready", rows=ROWS, classes={label: 1 for label in LABELS}, content_hash="0" * 64,
    **{name: f"benchmark/{file}.parquet" for name, file in keys.items()},
)
print("dataset", dataset.pk)
"""


def adopt(stack: Stack, home: Path, rows: int) -> str:
    """A dataset whose first version these files are; its id."""
    code = ADOPT.replace("ROWS", str(rows)).replace("LABELS", repr(LABELS))
    environ = {**os.environ, "SLIPWAY_HOME": str(home), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}"}
    command = [sys.executable, str(ROOT / "manage.py"), "shell", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def measure(stack: Stack, dataset: str, rows: int, rounds: int, words: list[str]) -> dict[str, Any]:
    """Medians and 95th percentiles by kind of request."""
    draw = random.Random(11)
    common = "abcdefghijklmnopqrstuvwxyz"
    kinds: dict[str, Callable[[int], dict[str, Any]]] = {
        "first page": lambda _: {},
        "last page": lambda _: {"page": -(-rows // 50)},
        "search: rare": lambda n: {"q": RARE[: 6 - n % 2]},
        "search: a word": lambda _: {"q": draw.choice(words)},
        "search: one letter": lambda n: {"q": common[n % 26]},
        "search: a letter, last": lambda n: {"q": common[n % 26], "page": rows // 50 // 2},
        "search: nothing": lambda n: {"q": f"nothing like {n}"},
        "search: Chinese": lambda _: {"q": chr(draw.randint(0x4E00, 0x5DFF))},
        "class": lambda n: {"label": LABELS[n % 5]},
        "class, a late page": lambda n: {"label": LABELS[n % 5], "page": rows // 50 // 20},
        "split": lambda n: {"split": ("train", "test")[n % 2]},
        "issue": lambda n: {"issue": CODES[n % 3]},
        "mistakes": lambda _: {"mistakes": "1"},
        "by suspicion": lambda _: {"sort": "suspicion"},
        "by suspicion, last": lambda _: {"sort": "suspicion", "page": -(-rows // 50)},
        "suspects, by suspicion": lambda _: {"suspects": "1", "sort": "suspicion"},
        "all together": lambda n: {
            "q": common[n % 26],
            "label": LABELS[n % 5],
            "split": "train",
            "issue": CODES[0],
            "mistakes": "1",
            "suspects": "1",
            "sort": "suspicion",
        },
    }
    web = stack.child("slipway.web")
    report: dict[str, Any] = {"web process, MB": {"before": _memory(web)}}
    headers = {"Authorization": f"Bearer {stack.token}"}
    took: dict[str, list[float]] = {name: [] for name in kinds}
    spent = dict.fromkeys(kinds, 0.0)
    with httpx.Client(base_url=stack.url, headers=headers, timeout=300) as client:
        client.get("/api/v1/me").raise_for_status()
        for count in range(rounds + 1):
            for name, query in kinds.items():
                since, used = time.perf_counter(), _processor_s(web)
                reply = client.get(f"/api/v1/datasets/{dataset}/rows", params=query(count))
                took[name].append(1000 * (time.perf_counter() - since))
                spent[name] += (_processor_s(web) - used) if count else 0
                reply.raise_for_status()
    for name, times in took.items():
        first, *later = times
        high = statistics.quantiles(later, n=20)[-1]
        report[name] = {
            "median": round(statistics.median(later)),
            "p95": round(high),
            "processor": round(1000 * spent[name] / rounds),
            "first": round(first),
        }
    report["web process, MB"]["peak"] = _memory(web)
    return report


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _memory(process: psutil.Process) -> int:
    """Peak resident memory since the process began, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
