"""Compressed files, archives of tables, spreadsheets, JSON arrays: the same rows as the plain CSV gives."""

import bz2
import datetime as dt
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from tests.ingest.importing import as_csv, as_tar, as_zip, failure, import_file, pictures, reviews, workbook
from workers.contracts.job import FileOptions
from workers.ingest.preview import HEAD_BYTES, preview, preview_in_child

CSV = as_csv(reviews()).encode()
OBJECTS = [{"text": text, "label": label} for text, label in reviews()]


def zstd(data: bytes) -> bytes:
    return pyarrow.compress(data, codec="zstd", asbytes=True)  # type: ignore[no-any-return]


def framed_zstd(data: bytes) -> bytes:
    """As the command line tool writes it: the frame does not tell the size."""
    out = io.BytesIO()
    with pyarrow.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
        return out.getvalue() if stream.closed else (stream.close(), out.getvalue())[1]


def content(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["text"], row["label"]) for row in rows]


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_compressed_table_is_unpacked_by_itself(tmp_path: Path, ending: str) -> None:
    packed = COMPRESS[ending](CSV)
    done = import_file(tmp_path, packed, filename=f"reviews.csv.{ending}")
    assert content(done.rows) == reviews()
    assert done.result.content_hash == import_file(tmp_path, CSV).result.content_hash


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_compressed_table_is_previewed(ending: str) -> None:
    seen = preview_in_child(COMPRESS[ending](CSV), f"reviews.csv.{ending}")
    assert (seen["format"], seen["rows"]) == ("compressed", [list(row) for row in reviews(20)])


def test_the_beginning_of_a_large_compressed_file_is_enough_for_a_preview() -> None:
    rows = [(f"{n * 7919 % 100_003} " * 20, "ab"[n % 2]) for n in range(60_000)]
    packed = gzip.compress(as_csv(rows).encode())
    assert len(packed) > HEAD_BYTES
    assert len(preview(packed[:HEAD_BYTES], "big.csv.gz")["rows"]) == 20


def test_several_compressed_streams_one_after_the_other_are_one_file(tmp_path: Path) -> None:
    middle = CSV.index(b"\n", len(CSV) // 2) + 1
    for compress in COMPRESS.values():
        done = import_file(tmp_path, compress(CSV[:middle]) + compress(CSV[middle:]))
        assert content(done.rows) == reviews()


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_damaged_compressed_file_is_refused_whole(tmp_path: Path, ending: str) -> None:
    packed = bytearray(COMPRESS[ending](CSV * 50))
    error = failure(tmp_path, bytes(packed[: len(packed) * 2 // 3]), filename=f"x.csv.{ending}")
    assert error.code == "file_unreadable"


def test_a_small_file_that_unpacks_to_gigabytes_is_stopped(tmp_path: Path) -> None:
    bomb = gzip.compress(b"text,label\n" + b"a,b\n" * 20_000_000, 9)
    assert failure(tmp_path, bomb, filename="bomb.csv.gz").code == "archive_bomb"


def test_a_tar_of_photos_compressed_by_zstd_is_read(tmp_path: Path) -> None:
    done = import_file(tmp_path, zstd(as_tar(pictures(), "w")), kind="image", filename="photos.tar.zst")
    assert done.result.rows == len(pictures())


@pytest.mark.parametrize("archive", [as_zip, as_tar])
def test_a_table_in_an_archive_is_the_table(tmp_path: Path, archive: Any) -> None:
    packed = archive({"data/reviews.csv": CSV, "data/README.md": b"# Reviews", "__MACOSX/._reviews.csv": b"\0"})
    done = import_file(tmp_path, packed, filename="reviews.zip")
    assert content(done.rows) == reviews()
    assert [example["value"] for example in done.issue("file_left_out")["examples"]] == ["data/README.md"]


def test_the_tables_of_an_archive_become_one_and_their_names_the_splits(tmp_path: Path) -> None:
    rows = reviews(120)
    turned = as_csv([(label, text) for text, label in rows[100:]], header=("label", "text"))
    files = {
        "train.csv": as_csv(rows[:80]).encode(),
        "valid.csv": as_csv(rows[80:100]).encode(),
        "test.csv": turned.encode(),
        "sample_submission.csv": b"id,label\n1,good\n",
    }
    done = import_file(tmp_path, as_zip(files), filename="kaggle.zip")
    assert content(done.rows) == rows
    assert done.result.splits == {"train": 80, "validation": 20, "test": 20}
    assert [file["name"] for file in done.result.profile["files"]] == ["train.csv", "valid.csv", "test.csv"]
    assert "sample_submission.csv" in done.issue("file_left_out")["examples"][0]["value"]


def test_a_bad_row_of_the_second_file_is_told_by_a_line_that_leads_to_it(tmp_path: Path) -> None:
    files = {"a.csv": as_csv(reviews(40)).encode(), "b.csv": as_csv(reviews(60)[40:]).encode() + b"only one cell\n"}
    done = import_file(tmp_path, as_zip(files))
    first = {file["name"]: file["first_line"] for file in done.result.profile["files"]}
    # The header is line 1 of the file, and 20 rows follow it.
    assert [int(row["line"]) for row in done.rejected] == [first["b.csv"] + 21]


def test_the_preview_of_a_zip_tells_tables_from_photos() -> None:
    assert preview(as_zip({"train.csv": CSV}), "kaggle.zip")["kind_guess"] == "text"
    assert preview(as_zip(pictures()), "photos.zip")["kind_guess"] == "image"


def test_a_zip_of_photos_is_no_table_and_says_what_would_be(tmp_path: Path) -> None:
    assert failure(tmp_path, as_zip(pictures())).code == "format_unknown"


def test_a_spreadsheet_gives_the_rows_of_its_first_visible_sheet(tmp_path: Path) -> None:
    rows = [["text", "label"], *[list(row) for row in reviews()]]
    book = workbook(("Empty", []), ("Draft", [["x"]]), ("Data", rows), ("Notes", [["by Ann"]]), hidden="Draft")
    done = import_file(tmp_path, book, filename="reviews.xlsx")
    assert content(done.rows) == reviews()
    assert done.result.profile["sheet"] == "Data"
    assert [example["value"] for example in done.issue("file_left_out")["examples"]] == ["Notes"]


def test_another_sheet_is_read_where_it_is_chosen(tmp_path: Path) -> None:
    rows = [["text", "label"], *[list(row) for row in reviews()]]
    book = workbook(("Notes", [["by Ann"]]), ("Data", [["2024"], [], *rows]), ("Hidden", rows), hidden="Hidden")
    path = tmp_path / "book.xlsx"
    path.write_bytes(book)
    seen = preview_in_child(path, path.name)
    assert (seen["sheet"], seen["sheets"], seen["first_line"]) == ("Notes", ["Notes", "Data"], 1)
    seen = preview_in_child(path, path.name, FileOptions(sheet="Data"))
    assert (seen["sheet"], seen["first_line"], seen["rows"][0]) == ("Data", 3, ["review number 0", "good"])
    (tmp_path / "jobs").mkdir()
    done = import_file(tmp_path / "jobs", book, filename="reviews.xlsx", sheet="Data")
    assert content(done.rows) == reviews()
    assert [example["value"] for example in done.issue("file_left_out")["examples"]] == ["Notes"]
    for name in ("Hidden", "data"):
        error = failure(tmp_path / "jobs", book, filename="reviews.xlsx", sheet=name)
        assert (error.code, error.evidence) == ("sheet_missing", "Sheets in the file: Notes, Data")


def test_titles_above_the_names_of_a_sheet_are_told_and_not_taken_for_names(tmp_path: Path) -> None:
    rows = [["Export"], ["made on", "2024-05-01"], [], ["id", "text", "agent", "label"]]
    rows += [[str(n), text, "Mia", label] for n, (text, label) in enumerate(reviews())]
    done = import_file(tmp_path, workbook(("S", rows)), filename="tickets.xlsx")
    assert content(done.rows) == reviews()
    assert [(row["line"], row["code"]) for row in done.rejected] == [("1", "row_malformed"), ("2", "row_malformed")]


def test_a_row_with_gaps_below_the_names_of_a_sheet_is_no_title(tmp_path: Path) -> None:
    rows = [["text", "label", "agent", "priority"], ["no label"], *[list(row) for row in reviews()]]
    done = import_file(tmp_path, workbook(("S", rows)), filename="tickets.xlsx")
    assert content(done.rows) == reviews()
    assert [(row["line"], row["code"]) for row in done.rejected] == [("2", "label_missing")]


def test_cells_of_a_spreadsheet_are_numbers_times_and_texts_as_in_a_csv(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["user", "item", "rating", "date"]]
    rows += [[f"u{n % 5}", n, 4.5, dt.datetime(2024, 1, 1, 12)] for n in range(30)]
    rows += [[], ["u1", 31, "good", dt.date(2024, 1, 2)]]
    done = import_file(tmp_path, workbook(("S", rows)), kind="recommendation", filename="plays.xlsx")
    assert [row["item"] for row in done.rows] == [str(n) for n in range(30)]
    assert done.rows[0]["rating"] == 4.5
    assert done.rows[0]["timestamp"] == 1_704_110_400
    assert [(row["line"], row["code"]) for row in done.rejected] == [("33", "rating_invalid")]


def test_a_spreadsheet_that_is_none_is_refused(tmp_path: Path) -> None:
    broken = io.BytesIO()
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    assert failure(tmp_path, broken.getvalue(), filename="x.xlsx").code == "file_unreadable"
    assert failure(tmp_path, workbook(("S", [])), filename="x.xlsx").code == "no_rows"


@pytest.mark.parametrize("indent", [None, 1])
def test_one_json_array_is_read_object_by_object(tmp_path: Path, indent: int | None) -> None:
    done = import_file(tmp_path, json.dumps(OBJECTS, indent=indent), filename="reviews.json")
    assert content(done.rows) == reviews()


def test_texts_with_brackets_quotes_and_escapes_end_no_element(tmp_path: Path) -> None:
    nasty = ['a "quoted", [bracketed] {braced} text', "back\\slash \\", 'ends with \\"', "文 \U0001f600 ]},{["]
    objects = [{"text": f"{nasty[n % 4]} {n}", "label": "ab"[n % 2]} for n in range(40)]
    for ensure_ascii in (True, False):
        done = import_file(tmp_path, json.dumps(objects, ensure_ascii=ensure_ascii), filename="x.json")
        assert [row["text"] for row in done.rows] == [one["text"] for one in objects]


def test_each_bad_element_of_an_array_is_told_with_its_line(tmp_path: Path) -> None:
    good = ",\n".join(json.dumps(one) for one in OBJECTS)
    source = f'[\n{good},\n{{"text": "a" "label"}},\n\n17,\n{{"label": "good"}},\n{{"text": "open, "label'
    done = import_file(tmp_path, source, filename="x.json")
    assert content(done.rows) == reviews()
    assert [(row["line"], row["code"]) for row in done.rejected] == [
        ("42", "row_malformed"),
        ("44", "row_malformed"),
        ("45", "text_missing"),
        ("46", "row_malformed"),
    ]


def test_fields_of_objects_in_objects_are_columns_by_their_path(tmp_path: Path) -> None:
    nested = [
        {"id": n, "review": {"body": text, "by": {"name": "x"}}, "meta": {"label": label}}
        for n, (text, label) in enumerate(reviews())
    ]
    mapping = {"text": "review.body", "label": "meta.label"}
    for source in (json.dumps(nested), "".join(json.dumps(one) + "\n" for one in nested)):
        assert content(import_file(tmp_path, source, filename="x.json", mapping=mapping).rows) == reviews()
        # And they are found without being told.
        assert content(import_file(tmp_path, source, filename="x.json").rows) == reviews()


def task(text: str, *labels: str, kind: str = "choices", cancelled: bool = False) -> dict[str, Any]:
    """A task as Label Studio exports it."""
    result = [{"from_name": "sentiment", "to_name": "text", "type": kind, "value": {kind: list(labels)}}]
    return {"id": 1, "data": {"text": text}, "annotations": [{"id": 7, "was_cancelled": cancelled, "result": result}]}


def test_an_export_of_label_studio_is_texts_and_their_choices(tmp_path: Path) -> None:
    tasks = [task(text, label) for text, label in reviews()]
    tasks += [task("skipped", "good", cancelled=True)]
    tasks[0]["annotations"].insert(0, {"was_cancelled": True, "result": []})
    done = import_file(tmp_path, json.dumps(tasks), filename="project-1.json")
    assert content(done.rows) == reviews()
    assert [row["code"] for row in done.rejected] == ["label_missing"]


def test_ratings_of_movielens_are_read_as_they_come(tmp_path: Path) -> None:
    lines = [f"{n % 7 + 1}::{n + 1}::{n % 5 + 1}::{978300000 + n}\n" for n in range(70)]
    done = import_file(tmp_path, "".join(lines), kind="recommendation", filename="ratings.dat")
    assert done.result.mapping == {
        "user": "column_1",
        "item": "column_2",
        "rating": "column_3",
        "timestamp": "column_4",
    }
    assert (done.result.rows, done.result.profile["delimiter"]) == (70, "::")
    assert {"user": "1", "item": "1", "rating": 1.0, "timestamp": 978300000}.items() <= done.rows[0].items()
