"""The rate of whole imports beside that of a peer which only parses and writes, in turns on one machine.

python benchmarks/ingest/rates.py [--mb 800] [--images 50000] [--rounds 3] [--cores 2] [KIND …]

Tables: polars alone parses the same CSV and writes its columns as Parquet, packed the same. Images: a bare
Pillow loop decodes every file of the same archive. Imports have all checks on but the search for near-duplicates.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import measure

HERE = Path(__file__).resolve().parent
_KINDS = {"text": "text", "interactions": "recommendation", "images": "image"}
_POLARS = """
import sys, polars as pl
pl.read_csv(sys.argv[1]).write_parquet(sys.argv[2], compression="zstd", compression_level=1)
"""
_PILLOW = """
import io, sys, zipfile
from PIL import Image
with zipfile.ZipFile(sys.argv[1]) as archive:
    for name in archive.namelist():
        with Image.open(io.BytesIO(archive.read(name))) as image:
            image.load()
"""


def peer(source: Path, program: str) -> dict[str, float]:
    """Seconds, CPU seconds and peak resident MB of the peer in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        child = subprocess.Popen([sys.executable, "-c", program, str(source), f"{folder}/out.parquet"])
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
    if status:
        raise SystemExit(f"the peer ended with {status}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_rss_MB": usage.ru_maxrss // 1024}


def compare(kind: str, source: Path, rounds: int) -> dict[str, Any]:
    """Medians over the rounds, and the import's rate as a share of the peer's."""
    program = _PILLOW if kind == "images" else _POLARS
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(peer(source, program))
        ours.append(measure(source, _KINDS[kind], {}))
    done = {name: statistics.median(one[name] for one in ours) for name in theirs[0]}
    bare = {name: statistics.median(one[name] for one in theirs) for name in theirs[0]}
    megabytes = source.stat().st_size / 1e6
    return {
        "kind": kind,
        "MB": round(megabytes),
        "rows": ours[0]["rows"],
        "import": {name: round(value, 1) for name, value in done.items()}
        | {"MB/s": round(megabytes / done["seconds"])},
        "peer": {name: round(value, 1) for name, value in bare.items()} | {"MB/s": round(megabytes / bare["seconds"])},
        "ratio": round(bare["seconds"] / done["seconds"], 2),
        "ratio_of_cpu": round(bare["cpu_seconds"] / done["cpu_seconds"], 2),
    }


def main() -> None:
    """Make what is missing, compare, print a line of JSON per kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=[*_KINDS])
    parser.add_argument("--mb", type=float, default=800)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "slipway-bench")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: chosen.cores]))
    os.environ["POLARS_MAX_THREADS"] = str(chosen.cores)
    chosen.folder.mkdir(exist_ok=True)
    for kind in chosen.kinds:
        size = chosen.images if kind == "images" else chosen.mb
        source = chosen.folder / (f"{kind}-{size:g}" + (".zip" if kind == "images" else ".csv"))
        if not source.exists():
            subprocess.run([sys.executable, HERE / "made.py", kind, source, str(size)], check=True)
        print(json.dumps(compare(kind, source, chosen.rounds)), flush=True)


if __name__ == "__main__":
    main()
