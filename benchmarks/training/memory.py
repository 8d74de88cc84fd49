"""Peak memory of a training job on a generated image set that is larger than it: 640 × 480 JPEGs in one Parquet file.

python benchmarks/training/memory.py [--gigabytes 1] [--preset fast] [--parameters '{"epochs": 1}']

The files repeat a few dozen pictures: their bytes cost what a camera's would, whoever took them.
"""

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "training")]

import numpy as np  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.parquet  # noqa: E402
from PIL import Image  # noqa: E402
from run import run_job  # noqa: E402

_PICTURES = 48
_LABELS = ("coarse", "fine", "striped")
# As an import writes them: whichever comes first.
_GROUP_BYTES = 64 << 20


def pictures() -> list[tuple[str, bytes]]:
    """Labels and JPEG files of noise, coarse, fine or striped: about 150 kB each."""
    source = np.random.default_rng(0)
    made = []
    for number in range(_PICTURES):
        label = _LABELS[number % len(_LABELS)]
        height, width = {"coarse": (15, 20), "fine": (120, 160), "striped": (1, 80)}[label]
        coarse = Image.fromarray(source.integers(0, 256, (height, width, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = np.clip(pixels + source.integers(-24, 25, (480, 640, 1)), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=88)
        made.append((label, stream.getvalue()))
    return made


def write(target: Path, total: int) -> int:
    """A data.parquet of about so many bytes; returns its rows. Eight in ten train, one validation, one test."""
    files = pictures()
    rows = total // (sum(len(data) for _, data in files) // len(files))
    group = max(1, _GROUP_BYTES * rows // total)

    def batch(numbers: range) -> pyarrow.Table:
        splits = {8: "validation", 9: "test"}
        return pyarrow.Table.from_pylist(
            [
                {"row": number, "split": splits.get(number % 10, "train"), "hash": f"{number:032x}"}
                | {"image": files[number % _PICTURES][1], "label": files[number % _PICTURES][0]}
                | {"name": f"{number:08d}.jpg", "width": 640, "height": 480, "format": "JPEG"}
                for number in numbers
            ]
        )

    def batches() -> Iterator[pyarrow.Table]:
        for start in range(0, rows, group):
            yield batch(range(start, min(start + group, rows)))

    schema = batch(range(1)).schema
    with pyarrow.parquet.ParquetWriter(target, schema, compression="none", use_dictionary=False) as writer:
        for table in batches():
            writer.write_table(table)
    return rows


def main() -> None:
    """Generate, train, print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--parameters", type=json.loads, default={"epochs": 1})
    parser.add_argument("--folder", type=Path, help="where to put the set; it needs that much room")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-memory-", dir=arguments.folder) as folder:
        found: dict[str, Any] = {}
        data = Path(folder) / "data.parquet"
        found["images"] = write(data, int(arguments.gigabytes * 1e9))
        found["set_gb"] = round(data.stat().st_size / 1e9, 2)
        run = run_job("image-classification", data, arguments.preset, 0, arguments.parameters, Path(folder) / "job")
        found |= {key: run[key] for key in ("peak_rss_gb", "wall", "cpu", "accuracy")}
        print(json.dumps(found))


if __name__ == "__main__":
    main()
