"""An exported version imports again to the very same rows."""

import csv
import io
import zipfile
from pathlib import Path

import pytest

from tests.ingest.importing import Outcome, as_csv, as_zip, import_file, picture, pictures, reviews
from workers.ingest.export import csv_of, parquet_of, zip_of

NASTY = [
    "=1+1",
    "'=1+1",
    "''@x",
    "-5",
    "+49 30",
    "\tTab",
    "＝1",
    'a "quoted", text',
    "two\r\nlines",
    "lone\rreturn",
    "文 😀",
]


def again(tmp_path: Path, done: Outcome, kind: str) -> Outcome:
    """The version exported and imported once more, after a look at what Parquet makes of it."""
    data = done.folder.output / "data.parquet"
    parquet = import_file(tmp_path, b"".join(parquet_of(data)), kind=kind, filename="again")
    assert (parquet.result.classes, parquet.result.splits) == (done.result.classes, done.result.splits)
    assert parquet.result.content_hash == done.result.content_hash
    content = b"".join(zip_of(data) if kind == "image" else csv_of(data))
    return import_file(tmp_path, content, kind=kind, filename="again")


def test_texts_that_a_spreadsheet_would_run_come_back_as_they_were(tmp_path: Path) -> None:
    rows = reviews() + [(f"{text} {n}" if n else text, "=bad" if n else "good") for n in (0, 1) for text in NASTY]
    done = import_file(tmp_path, as_csv(rows))
    exported = b"".join(csv_of(done.folder.output / "data.parquet")).decode()
    cells = [cell for row in csv.reader(io.StringIO(exported, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "\t", "＝"))]
    back = again(tmp_path, done, "text")
    assert (back.rows, back.result.content_hash) == (done.rows, done.result.content_hash)


@pytest.mark.parametrize(
    ("kind", "header", "rows"),
    [
        (
            "recommendation",
            ("user", "item", "rating", "timestamp"),
            [(f"u{n % 7}", f"i{n}", str(n / 3), str(1_600_000_000 + n)) for n in range(60)],
        ),
        ("recommendation", ("user", "item"), [(f"u{n % 7}", f"=i{n}") for n in range(60)]),
        (
            "tabular",
            ("age", "home.city", "joined", "label"),
            [(str(n), ["Bonn", "=Ulm", ""][n % 3], f"2024-01-{n % 28 + 1:02}", "ab"[n % 2]) for n in range(60)],
        ),
    ],
    ids=["ratings", "visits", "table"],
)
def test_rows_of_every_kind_come_back(
    tmp_path: Path, kind: str, header: tuple[str, ...], rows: list[tuple[str, ...]]
) -> None:
    done = import_file(tmp_path, as_csv(rows, header=header), kind=kind)
    back = again(tmp_path, done, kind)
    assert (back.rows, back.result.content_hash) == (done.rows, done.result.content_hash)


def test_images_come_back_with_labels_that_no_folder_could_be_called(tmp_path: Path) -> None:
    files = {f"photos/-{n}.png": picture(n) for n in range(20)}
    rows = [(name.rpartition("/")[2], ("cat/dog", "=..")[n % 2]) for n, name in enumerate(files)]
    listed = as_csv(rows, header=("file", "label")).encode()
    for source in (as_zip(pictures()), as_zip({**files, "photos/labels.csv": listed})):
        done = import_file(tmp_path, source, kind="image")
        back = again(tmp_path, done, "image")
        assert back.result.classes == done.result.classes
        assert (back.rows, back.result.content_hash) == (done.rows, done.result.content_hash)


def test_the_zip_is_one_that_others_read_and_the_same_each_time(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_zip(pictures()), kind="image")
    data = done.folder.output / "data.parquet"
    content = b"".join(zip_of(data))
    assert content == b"".join(zip_of(data))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist() if name != "metadata.csv"} == pictures()
