"""The preview of an upload: right on ordinary files, bounded on hostile ones, never in the web process itself."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.importing import as_csv, as_tar, as_zip, pictures, reviews
from workers.contracts.errors import UserError
from workers.ingest.preview import HEAD_BYTES, preview, preview_in_child

RATINGS = as_csv(
    [(f"u{n % 5}", f"i{n}", "4.5", "2024-01-31") for n in range(50)], header=("user", "item", "stars", "day")
)


def test_a_table_shows_columns_types_twenty_rows_and_a_guess() -> None:
    seen = preview_in_child(as_csv(reviews(100), delimiter=";").encode(), "reviews.csv")
    assert (seen["format"], seen["encoding"], seen["delimiter"]) == ("csv", "utf-8", ";")
    assert seen["columns"] == [{"name": "text", "type": "text"}, {"name": "label", "type": "text"}]
    assert seen["rows"] == [list(row) for row in reviews(20)]
    assert (seen["kind_guess"], seen["mapping_guess"]) == ("text", {"text": "text", "label": "label"})


def test_interactions_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_text(RATINGS)
    seen = preview_in_child(path, "ratings.csv")
    assert seen["kind_guess"] == "recommendation"
    assert seen["mapping_guess"] == {"user": "user", "item": "item", "rating": "stars"}
    assert [column["type"] for column in seen["columns"]] == ["text", "text", "number", "time"]


def test_a_head_that_ends_within_a_row_shows_whole_rows_only() -> None:
    rows = [(f"long text {n} " * 50, "ab"[n % 2]) for n in range(1000)]
    seen = preview(as_csv(rows).encode()[:HEAD_BYTES], "big.csv")
    assert seen["problems"] == []
    assert len(seen["rows"]) == 20


def test_bad_rows_of_the_head_are_shown() -> None:
    seen = preview((as_csv(reviews()) + "a,b,c\n").encode(), "x.csv")
    assert seen["problems"] == [
        {"line": 42, "code": "row_malformed", "message": "The row has 3 fields; the header has 2."}
    ]


@pytest.mark.parametrize(("make", "format"), [(as_zip, "zip"), (as_tar, "tar")])
def test_an_archive_is_told_by_its_first_bytes_and_not_opened(make, format: str) -> None:  # type: ignore[no-untyped-def]
    seen = preview_in_child(make(pictures())[:300], "photos")
    assert (seen["format"], seen["kind_guess"], seen["rows"]) == (format, "image", [])


def test_a_parquet_file_is_read_in_the_child_and_not_from_its_head(tmp_path: Path) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"] * 30, "n": range(60)}), out)
    path = tmp_path / "upload"
    path.write_bytes(out.getvalue())
    assert preview_in_child(path, "x.parquet")["rows"][1] == ["b", "1"]
    assert preview_in_child(out.getvalue(), "x.parquet")["columns"] == []


@pytest.mark.parametrize(("head", "code"), [(b"", "file_empty"), (b"%PDF", "format_unknown"), (b"text,label\n", None)])
def test_what_cannot_be_previewed_says_why(head: bytes, code: str | None) -> None:
    if code is None:
        assert preview_in_child(head, "x.csv")["rows"] == []
        return
    with pytest.raises(UserError) as caught:
        preview_in_child(head, "x.csv")
    assert caught.value.code == code


def test_a_name_is_never_a_path_or_an_option() -> None:
    for name in ("--help", "../../etc/passwd", "a\0b", "x" * 9000, ""):
        assert preview_in_child(as_csv(reviews()).encode(), name)["format"] == "csv"


def test_a_file_that_wants_too_much_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), ["a" * 10**6])
    pq.write_table(pa.table({"text": texts}), path, compression="zstd")
    with pytest.raises(UserError) as caught:
        preview_in_child(path, "bomb.parquet")
    assert caught.value.code == "file_unreadable"
    with pytest.raises(UserError):
        preview_in_child(as_csv(reviews()).encode(), "x.csv", timeout=0.001)


def test_labels_in_lists_need_no_sign_between_them() -> None:
    tasks = [
        {"text": f"text {n}", "topic": ["billing", "shipping"] if n % 3 else "quality", "price": f"${n},500"}
        for n in range(1, 40)
    ]
    seen = preview(json.dumps(tasks).encode(), "tasks.json")
    assert seen["separator_guesses"] == {} and seen["mapping_guess"]["label"] == "topic"
    assert [column["type"] for column in seen["columns"]] == ["text", "text", "number"]
