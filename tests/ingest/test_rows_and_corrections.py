"""Paging through a version, looking at one image, and correcting labels."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.ingest.importing import Outcome, as_csv, as_zip, found, import_file, job, outcome, picture, pictures, reviews
from workers.contracts.errors import JobError
from workers.contracts.jobdir import JobDir
from workers.ingest import index
from workers.ingest.rows import Files, read, read_stored
from workers.ingest.run import run
from workers.ingest.thumbnails import read_image, thumbnail


@pytest.fixture
def texts(tmp_path: Path) -> Outcome:
    return import_file(tmp_path, as_csv(reviews(100)))


@pytest.fixture
def photos(tmp_path: Path) -> Outcome:
    return import_file(tmp_path, as_zip(pictures(each=30)), kind="image")


def data(done: Outcome) -> Path:
    return done.folder.output / "data.parquet"


def test_pages_follow_each_other_without_gap_or_overlap(texts: Outcome) -> None:
    with open(data(texts), "rb") as stream:
        pages = [read_stored(stream, first, 30) for first in range(0, 150, 30)]
    assert [len(page) for page in pages] == [30, 30, 30, 10, 0]
    assert [row for page in pages for row in page] == found(texts)
    assert [row["row"] for page in pages for row in page] == list(range(100))


def test_conditions_combine(texts: Outcome) -> None:
    rows = found(texts, q="NUMBER 1", label="bad")
    assert [row["text"] for row in rows] == [f"review number {n}" for n in (1, 11, 13, 15, 17, 19)]
    assert len(found(texts, split="test")) == texts.result.splits["test"]


def test_rows_are_in_the_order_that_is_asked_for(texts: Outcome) -> None:
    index.write(data(texts), "text", path := texts.folder.root / "index")
    assert [row["row"] for row in read(Files(path), np.array([70, 3, 99, 4]))] == [70, 3, 99, 4]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("这部电影非常好看", "电影"),
        ("とても面白い映画でした", "面白い"),
        ("ｶﾀｶﾅ の広告", "カタカナ"),
        ("ＳＰＡＭ ｏｆｆｅｒ", "spam offer"),
        ("Die STRASSE ist lang", "straße"),
        ("un cafe\u0301 noir", "CAFÉ"),
        ("ΟΔΟΣ ΜΕΓΑΛΗ", "οδος"),
        ("100% of $(a+)+$ [x]", "(a+)+$ ["),
    ],
)
def test_search_finds_parts_of_texts_in_any_case_width_and_form(tmp_path: Path, text: str, query: str) -> None:
    done = import_file(tmp_path, as_csv([*reviews(60), (text, "good")]))
    assert [row["text"] for row in found(done, q=query)] == [text]


def test_pages_of_interactions_search_users_and_items(tmp_path: Path) -> None:
    rows = [(f"u{n % 7}", f"i{n}") for n in range(70)]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item")), kind="recommendation")
    assert len(found(done, "recommendation", q="u3")) == 10
    assert [row["item"] for row in found(done, "recommendation", q="I69")] == ["i69"]
    assert found(done, "recommendation", q="u3i3") == [], "nothing is found across cells"


def test_lists_of_images_carry_no_bytes_and_each_image_is_read_alone(photos: Outcome) -> None:
    listed = found(photos, "image", label="dog")
    assert len(listed) == 30
    assert all("image" not in row for row in listed)
    for row in (0, 29, 30, 59):
        assert read_image(data(photos), row) == photos.rows[row]["image"]
    with pytest.raises(IndexError):
        read_image(data(photos), 60)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_thumbnails_are_small_rasters_of_our_own(format: str) -> None:
    small, media_type = thumbnail(picture(5, format, (900, 300)), 128)
    assert media_type == "image/jpeg"
    assert Image.open(io.BytesIO(small)).size in ((128, 43), (128, 42))


def test_thumbnails_keep_transparency_and_refuse_what_is_no_image() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (10, 10), (1, 2, 3, 0)).save(out, "PNG")
    assert thumbnail(out.getvalue())[1] == "image/png"
    for bad in (b"", b"<svg/>", picture(4)[:50]):
        with pytest.raises(ValueError):
            thumbnail(bad)


def correct(folder: Path, parent: Outcome, body: Any, kind: str = "text", looks: bool = False) -> Outcome:
    job_dir = job(folder, data(parent), kind, corrections=True)
    (job_dir.inputs / "changes.json").write_text(json.dumps(body))
    if looks:
        (job_dir.inputs / "looks.parquet").symlink_to(parent.folder.output / "looks.parquet")
    return outcome(job_dir, run(job_dir))


def test_corrections_change_labels_and_nothing_else(tmp_path: Path, texts: Outcome) -> None:
    changes = {
        "changes": [{"row": 0, "label": "bad"}, {"row": 99, "label": " new  class "}, {"row": 0, "label": "worse"}]
    }
    done = correct(tmp_path, texts, changes)
    assert done.result.classes == {"bad": 49, "good": 49, "new class": 1, "worse": 1}
    assert done.result.splits == texts.result.splits
    assert done.result.content_hash != texts.result.content_hash
    for before, after in zip(texts.rows, done.rows, strict=True):
        assert {**before, "label": after["label"]} == after
    assert "class_small" in done.codes()


def test_corrections_of_images_keep_every_byte(tmp_path: Path, photos: Outcome) -> None:
    done = correct(tmp_path, photos, {"changes": [{"row": 3, "label": "dog"}]}, kind="image")
    assert done.result.classes == {"cat": 29, "dog": 31}
    assert [row["image"] for row in done.rows] == [row["image"] for row in photos.rows]


def test_an_edited_version_opens_no_image(tmp_path: Path, photos: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"changes": [{"row": 3, "label": "dog"}, {"row": 5, "drop": True}]}
    decoded = correct(tmp_path, photos, changes, "image")
    monkeypatch.setattr(Image, "open", None)
    known = correct(tmp_path, photos, changes, "image", looks=True)
    assert known.rows == decoded.rows and known.findings == decoded.findings and known.findings["image_blank"]
    assert known.result.model_copy(update={"files": {}}) == decoded.result.model_copy(update={"files": {}})
    # What was seen goes along from edit to edit.
    again = correct(tmp_path, known, {"changes": [{"row": 0, "drop": True}]}, "image", looks=True)
    assert again.result.rows == 58 and len(again.findings["image_blank"]) == 58
    # Looks that do not belong to the version are not used.
    with pytest.raises(JobError, match="Not one row"):
        correct(
            tmp_path, dataclasses.replace(known, folder=mixed(tmp_path, known, photos)), changes, "image", looks=True
        )


def mixed(tmp_path: Path, version: Outcome, other: Outcome) -> JobDir:
    """The data of one version with the looks of another beside it."""
    folder = job(tmp_path, data(version), "image")
    for name, found_in in (("data.parquet", version), ("looks.parquet", other)):
        shutil.copy(found_in.folder.output / name, folder.output / name)
    return folder


def test_correcting_back_gives_the_first_content_hash_again(tmp_path: Path, texts: Outcome) -> None:
    there = correct(tmp_path, texts, {"changes": [{"row": 0, "label": "bad"}]})
    back = correct(tmp_path, there, {"changes": [{"row": 0, "label": "good"}]})
    assert back.result.content_hash == texts.result.content_hash


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"changes": []},
        {"changes": [{"row": 100, "label": "x"}]},
        {"changes": [{"row": -1, "label": "x"}]},
        {"changes": [{"row": "1", "label": "x"}]},
        {"changes": [{"row": True, "label": "x"}]},
        {"changes": [{"row": 1, "label": "  "}]},
        {"changes": [{"row": 1, "label": "a\0b"}]},
        {"changes": [{"row": 1, "label": "x" * 401}]},
        {"changes": [7]},
    ],
    ids=str,
)
def test_changes_that_do_not_fit_are_refused(tmp_path: Path, texts: Outcome, body: Any) -> None:
    with pytest.raises(JobError) as caught:
        correct(tmp_path, texts, body)
    assert caught.value.code == "correction_invalid"
