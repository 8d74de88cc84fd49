"""Every check of the data doctor, and every reason for which a row is rejected, has a file here that shows it."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from tests.ingest.importing import Outcome, as_csv, as_tar, as_zip, import_file, picture, pictures, reviews
from tests.ingest.spoken import SPOKEN
from tests.ingest.test_hostile_archives import encrypted, zip_with
from tests.ingest.test_image_doctor import ODD, photo, photos, saved
from tests.ingest.test_json_and_parquet import as_parquet
from workers.contracts.errors import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
Show = Callable[[Path], Outcome]
LONG = "The battery lasts two days, the screen is bright and the camera takes sharp pictures even at night."


def text(*rows: tuple[str, ...], header: tuple[str, ...] = ("text", "label"), **spec: object) -> Show:
    """Reviews, and these rows."""
    more = [row if len(header) == 2 else (*row, "train") for row in reviews()]
    return lambda folder: import_file(folder, as_csv([*more, *rows], header=header), **spec)  # type: ignore[arg-type]


def raw(source: str | bytes, kind: str = "text", **spec: object) -> Show:
    return lambda folder: import_file(folder, source, kind, **spec)  # type: ignore[arg-type]


def played(*rows: tuple[str, ...], **columns: str) -> Show:
    """Interactions of four users with nine items, and these rows."""
    more = [(f"u{n % 4}", f"i{n % 9}", *(value for value in columns.values())) for n in range(36)]
    return raw(as_csv([*more, *rows], header=("user", "item", *columns)), "recommendation")


def table(column: str, *cells: str) -> Show:
    """A column of these cells, over and over, beside one of numbers."""
    rows = [(str(n % 17), cells[n % len(cells)], "ab"[n % 2]) for n in range(400)]
    return raw(as_csv(rows, header=("size", column, "label")), "tabular")


def images(**files: bytes) -> Show:
    """Class folders, and these files in the first."""
    found = pictures() | {f"cat/{name}": content for name, content in files.items()}
    return raw(as_zip(found), "image", filename="photos.zip", limits={"max_image_bytes": 200_000})


def odd(name: str) -> Show:
    return raw(as_zip(photos() | {"b/odd": ODD[name][1]}), "image", filename="photos.zip")


def link() -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo("cat/link.png")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info, b"/etc/hostname"


def broken() -> bytes:
    source = bytearray(as_zip(pictures(), zipfile.ZIP_STORED))
    source[source.find(pictures()["cat/4.png"]) + 20] ^= 1
    return bytes(source)


GREY = {f"b/grey{n}.jpg": saved(photo(2000 + n).convert("L")) for n in range(4)}
VECTORS = as_parquet(pa.table({"text": [f"t{n}" for n in range(40)], "label": ["a", "b"] * 20, "vector": [[0.5]] * 40}))
COPIES = [(LONG, "good"), (LONG.replace("bright", "brighter"), "bad")]

SHOWN: dict[str, Show] = {
    "row_malformed": raw(as_csv(reviews()) + "one,two,three,four,five\n"),
    "row_undecodable": raw(as_csv(reviews()).encode() + b"zero\0byte,good\n"),
    "text_missing": text(("", "good")),
    "text_too_long": text(("x" * 2000, "good"), limits={"max_field_chars": 1000}),
    "label_missing": text(("no label", "")),
    "label_list": text(("two of them", '["good", "bad"]')),
    "labels_mixed": text(*((f"both {n}", '["good", "bad"]') for n in range(9))),
    "split_invalid": text(("a text", "good", "nowhere"), header=("text", "label", "split"), mapping={"split": "split"}),
    "column_left_out": raw(VECTORS, filename="a.parquet"),
    "file_left_out": raw(as_zip({"a.csv": as_csv(reviews()).encode(), "b.csv": b"x\n1\n"}), filename="a.zip"),
    "duplicate_rows": text(("review number 0", "good")),
    "duplicate_conflict": text(("review number 0", "bad")),
    "duplicate_across_splits": text(("review number 0", "good", "test"), header=("text", "label", "split")),
    "near_duplicate": text(*COPIES),
    "near_duplicate_conflict": text(*COPIES),
    "near_duplicate_across_splits": text(
        *((*row, split) for row, split in zip(COPIES, ("train", "test"), strict=True)),
        header=("text", "label", "split"),
    ),
    "near_duplicates_partly": text(limits={"max_compared": 20}),
    "class_similar": text(("fine", "Good ")),
    "class_typo": raw(as_csv([(f"text {n}", ("pleasant", "bad")[n % 2]) for n in range(80)] + [("x", "pleassant")])),
    "labels_in_one": raw(as_csv([(f"text {n}", ("a", "b", "a; b")[n % 3]) for n in range(60)])),
    "class_small": text(("fine", "mediocre")),
    "class_imbalance": text(("fine", "mediocre")),
    "text_mojibake": text(("Un cafÃ© trÃ¨s bon", "good")),
    "text_markup": text(("good <br> cheap", "good")),
    "text_personal": text(("write to ann@example.org", "good")),
    "text_long": text(("word " * 2000, "good")),
    "text_short": text(("ok", "good")),
    "text_is_id": raw(as_csv([(f"A-{n:05}", "ab"[n % 2]) for n in range(40)]), mapping={"text": "text"}),
    "text_scripts": text(*((f"很好的电影 {n}", "good") for n in range(20))),
    "text_languages": text(*((f"{line} {n}", "good") for n, line in enumerate(SPOKEN["en"] * 12 + SPOKEN["it"]))),
    "user_missing": played(("", "i1")),
    "item_missing": played(("u1", "")),
    "rating_invalid": played(("u1", "i1", "five"), rating="3"),
    "timestamp_invalid": played(("u1", "i1", "soon"), time="2024-01-01"),
    "user_once": played(("guest", "i1")),
    "item_once": played(("u1", "rare")),
    "timestamp_future": played(("u1", "i5", "2999-01-01"), time="2024-01-01"),
    "timestamp_constant": played(time="2024-01-01"),
    "interaction_repeated": played(("u1", "i1")),
    "column_ignored": table("same", "x"),
    "column_nearly_constant": table("often", *["x"] * 399, "y"),
    "column_gaps": table("gaps", "", "", "x", "y", ""),
    "date_ambiguous": table("when", "01/02/2024", "03/04/2024"),
    "cell_odd": table("number", *map(str, range(1, 40)), "many"),
    "image_unreadable": images(odd=b"\x89PNG\r\n\x1a\n" + b"\0" * 100),
    "image_truncated": images(odd=b""),
    "image_too_large": images(odd=saved(Image.new("RGB", (300, 300)), "BMP")),
    "image_format": images(odd=b"just text"),
    "entry_path": raw(as_zip(pictures() | {"../escape.png": picture(7)}), "image", filename="a.zip"),
    "entry_link": raw(zip_with([link()]), "image", filename="a.zip"),
    "entry_encrypted": raw(encrypted(as_zip(pictures()), {"cat/3.png"}), "image", filename="a.zip"),
    "entry_unreadable": raw(broken(), "image", filename="a.zip"),
    "entry_duplicate": raw(as_tar(pictures() | {"./cat/1.png": picture(7)}), "image", filename="a.tar"),
    "entry_ignored": raw(as_zip(pictures() | {"cat/.DS_Store": b"x"}), "image", filename="a.zip"),
    "entry_no_class": raw(as_zip(pictures() | {"stray.png": picture(7)}), "image", filename="a.zip"),
    "image_tiny": odd("tiny"),
    "image_huge": odd("huge"),
    "image_stretched": odd("stretched"),
    "image_blank": odd("blank"),
    "image_animated": odd("gif"),
    "image_cmyk": odd("cmyk"),
    "image_rotated": odd("rotated"),
    "image_grey": odd("grey"),
    "image_grey_mixed": raw(as_zip(photos() | GREY), "image", filename="a.zip"),
}

# Needs a trained model, and is told of the version afterwards.
ELSEWHERE = {"label_suspect": ("tests/ingest/test_repairs.py", "accept-suggestions")}


def codes() -> set[str]:
    """What the catalogue holds of data and is no failure of a whole import."""
    source = "\n".join(path.read_text("utf-8") for root in ("workers", "apps") for path in (ROOT / root).rglob("*.py"))
    ends = set(re.findall(r'(?:JobError|UserError|InfraError)\(\s*"(\w+)"', source))
    area = CATALOGUE["text_missing"].area
    return {code for code, entry in CATALOGUE.items() if entry.area == area} - ends


@pytest.mark.parametrize("code", SHOWN)
def test_a_finding_has_a_sentence_a_way_out_a_count_and_an_example(tmp_path: Path, code: str) -> None:
    done = SHOWN[code](tmp_path)
    issue = done.issue(code)
    assert issue["message"] and issue["repair"] and issue["severity"] in ("error", "warning", "info")
    assert issue["count"] >= 1
    assert 1 <= len(issue["examples"]) <= 5
    assert all(example["line"] >= 0 and example["value"] for example in issue["examples"])
    assert (issue["severity"] == "error") == (code in {row["code"] for row in done.rejected})


def test_no_check_is_without_a_file_that_shows_it() -> None:
    assert codes() == {*SHOWN, *ELSEWHERE}
    assert all(word in (ROOT / path).read_text("utf-8") for path, word in ELSEWHERE.values())
