"""The real data sets as data.parquet: the file's own split kept, a tenth of train taken for validation by hash."""

import csv
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from PIL import Image


def split_of(own: str, digest: str) -> str:
    """The split of a row, from the split that its file gives and the hash of its content."""
    return "validation" if own == "train" and int(digest[:8], 16) % 10 == 0 else own


def texts_from_csv(source: Path, text: str, label: str, target: Path) -> None:
    """A CSV file with a text, a label and a split column."""
    rows: list[dict[str, Any]] = []
    with source.open(encoding="utf-8", newline="") as stream:
        for number, record in enumerate(csv.DictReader(stream)):
            digest = hashlib.sha256(record[text].encode()).hexdigest()[:32]
            split = split_of(record["split"], digest)
            rows.append({"row": number, "split": split, "hash": digest, "text": record[text], "label": record[label]})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), target)


def images_from_zip(source: Path, target: Path) -> None:
    """A zip of <split>/<class>/<file>."""
    rows: list[dict[str, Any]] = []
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if name.endswith("/"):
                continue
            data = archive.read(name)
            digest = hashlib.sha256(data).hexdigest()[:32]
            own, label, _ = name.split("/", 2)
            with Image.open(io.BytesIO(data)) as image:
                size, kind = image.size, image.format
            rows.append(
                {"row": len(rows), "split": split_of(own, digest), "hash": digest, "image": data, "label": label}
                | {"name": name, "width": size[0], "height": size[1], "format": kind}
            )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), target, row_group_size=1000)
