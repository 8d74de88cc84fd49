"""Paging through a version, looking at one image, and correcting labels."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.ingest.importing import Outcome, as_csv, as_zip, import_file, job, outcome, picture, pictures, reviews
from workers.contracts.errors import JobError
from workers.ingest.rows import read_image, read_page, thumbnail
from workers.ingest.run import run


@pytest.fixture
def texts(tmp_path: Path) -> Outcome:
    return import_file(tmp_path, as_csv(reviews(100)))


@pytest.fixture
def photos(tmp_path: Path) -> Outcome:
    return import_file(tmp_path, as_zip(pictures(each=30)), kind="image")


def data(done: Outcome) -> Path:
    return done.folder.output / "data.parquet"


def test_pages_follow_each_other_without_gap_or_overlap(texts: Outcome) -> None:
    pages = [read_page(data(texts), "text", page=page, page_size=30) for page in range(1, 6)]
    assert [len(page["rows"]) for page in pages] == [30, 30, 30, 10, 0]
    assert [row["row"] for page in pages for row in page["rows"]] == list(range(100))
    assert {page["total"] for page in pages} == {100}


def test_conditions_combine_and_count(texts: Outcome) -> None:
    found = read_page(data(texts), "text", q="NUMBER 1", label="bad", page_size=3)
    assert [row["text"] for row in found["rows"]] == ["review number 1", "review number 11", "review number 13"]
    assert found["total"] == 6
    again = read_page(data(texts), "text", q="NUMBER 1", label="bad", page=2, page_size=3)
    assert [row["text"] for row in again["rows"]] == ["review number 15", "review number 17", "review number 19"]
    tested = read_page(data(texts), "text", split="test", page_size=200)
    assert tested["total"] == texts.result.splits["test"] == len(tested["rows"])


def test_an_open_file_pages_as_a_path_does(texts: Outcome) -> None:
    with open(data(texts), "rb") as stream:
        assert read_page(stream, "text")["total"] == 100


def test_pages_of_interactions_search_users_and_items(tmp_path: Path) -> None:
    rows = [(f"u{n % 7}", f"i{n}") for n in range(70)]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item")), kind="recommendation")
    assert read_page(data(done), "recommendation", q="u3")["total"] == 10
    assert read_page(data(done), "recommendation", q="I69")["rows"][0]["item"] == "i69"


def test_lists_of_images_carry_no_bytes_and_each_image_is_read_alone(photos: Outcome) -> None:
    listed = read_page(data(photos), "image", label="dog")["rows"]
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


def correct(folder: Path, parent: Outcome, body: Any, kind: str = "text") -> Outcome:
    job_dir = job(folder, data(parent), kind, corrections=True)
    (job_dir.inputs / "changes.json").write_text(json.dumps(body))
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
