"""Files as people have them: what is in them is found, or it is said plainly why not."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.importing import as_csv, as_zip, failure, import_file, picture, pictures, reviews
from workers.contracts.errors import JobError
from workers.ingest.preview import preview

JUNK = {"__MACOSX/photos/cat/._0.png": b"\0", "photos/.DS_Store": b"\0Bud1", "photos/README.txt": b"our cats"}


def test_a_bank_statement_is_read_between_its_titles_and_its_totals(tmp_path: Path) -> None:
    rows = [f"{1 + n % 28:02}.01.2024;{text};{label};-{n},50;EUR" for n, (text, label) in enumerate(reviews(60))]
    titles = ['"Konto:";"DE12 3456"', '"Von:";"01.01.2024"', "", "Buchungstag;Zweck;Art;Betrag;W\u00e4hrung"]
    content = "\r\n".join([*titles, *rows, ";;;;", "Summe;;;-1.770,00;EUR", "60 Buchungen"]).encode("cp1252")
    seen = preview(content, "umsatz.csv")
    assert (seen["first_line"], seen["mapping_guess"]) == (4, {"text": "Zweck", "label": "Art"})
    done = import_file(tmp_path, content, mapping=seen["mapping_guess"])
    assert [(row["line"], row["code"]) for row in done.rejected] == [
        ("1", "row_malformed"),
        ("2", "row_malformed"),
        ("65", "text_missing"),
        ("66", "text_missing"),
        ("67", "row_malformed"),
    ]


def test_numbered_rows_are_no_interactions() -> None:
    """As pandas writes its index."""
    rows = [(str(n), str(n), text, label) for n, (text, label) in enumerate(reviews(60))]
    seen = preview(as_csv(rows, header=("", "Unnamed: 0", "text", "label")).encode(), "export.csv")
    assert (seen["kind_guess"], seen["mapping_guess"]) == ("text", {"text": "text", "label": "label"})


def test_a_zip_of_images_is_one_whatever_lies_beside_them(tmp_path: Path) -> None:
    content = as_zip({**JUNK, **pictures(prefix="photos/")})
    seen = preview(content, "photos.zip")
    assert (seen["kind_guess"], seen["columns"][0]["type"]) == ("image", "image")
    done = import_file(tmp_path, content, kind="image", filename="photos.zip")
    assert (done.result.rows, [row["name"] for row in done.rejected]) == (20, ["photos/README.txt"])
    logo = as_zip({"logo.png": picture(1), "data.csv": as_csv(reviews()).encode()})
    assert preview(logo, "data.zip")["kind_guess"] == "text"


@pytest.mark.parametrize("inner", [{"a.csv": as_csv(reviews()).encode()}, pictures()])
def test_a_zip_of_zips_says_what_to_do(tmp_path: Path, inner: dict[str, bytes]) -> None:
    content = as_zip({"one.zip": as_zip(inner), "__MACOSX/._one.zip": b"\0", "two.zip": as_zip(inner)})
    with pytest.raises(JobError, match="only archives in the archive") as caught:
        preview(content, "all.zip")
    assert "Unpack them" in caught.value.hint
    assert "only archives" in failure(tmp_path, content, filename="all.zip").message
    assert "only archives" in failure(tmp_path, content, kind="image", filename="all.zip").message


def test_fields_of_structs_are_columns_by_their_path(tmp_path: Path) -> None:
    rows = [
        {"id": n, "review": {"body": text, "about": {"stars": n % 5}} if n else None, "found": {"label": label}}
        for n, (text, label) in enumerate(reviews(41))
    ]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows[1:2] + rows[2:] + rows[:1]), out)
    path = tmp_path / "reviews.parquet"
    path.write_bytes(out.getvalue())
    seen = preview(path, path.name)
    assert [column["name"] for column in seen["columns"]] == ["id", "review.body", "review.about.stars", "found.label"]
    assert seen["mapping_guess"] == {"text": "review.body", "label": "found.label"}
    (tmp_path / "jobs").mkdir()
    done = import_file(tmp_path / "jobs", out.getvalue(), filename=path.name)
    assert (done.result.rows, done.rows[0]["text"]) == (40, "review number 1")
    assert [(row["line"], row["code"], row["review.body"]) for row in done.rejected] == [("41", "text_missing", "")]


def test_decimal_commas_and_days_with_dots_are_numbers_and_times(tmp_path: Path) -> None:
    lines = [f"K{n % 9};P{n % 11};{1 + n % 5},{n % 10};{1 + n % 28:02}.03.2024 10:00" for n in range(99)]
    content = "\n".join(["customer;product;rating;date", *lines]).encode("utf-8-sig")
    seen = preview(content, "ratings.csv")
    assert seen["separator_guesses"] == {} and [one["type"] for one in seen["columns"]][2:] == ["number", "time"]
    done = import_file(tmp_path, content, kind="recommendation", filename="ratings.csv")
    assert (done.result.rows, done.result.rejected) == (99, 0)
    assert done.result.mapping["timestamp"] == "date"
    times = {row["timestamp"] for row in done.rows}
    assert min(times) == 1_709_287_200 and max(times) - min(times) == 27 * 86400


def test_the_last_of_many_columns_can_be_the_label() -> None:
    names = [f"m{n}" for n in range(299)]
    rows = [(*[str(n * place % 97) for place in range(299)], ("yes", "no")[n % 2]) for n in range(60)]
    seen = preview(as_csv(rows, header=(*names, "outcome")).encode(), "wide.csv")
    assert (seen["kind_guess"], seen["mapping_guess"]) == ("tabular", {"label": "outcome"})
    assert (len(seen["columns"]), len(seen["rows"][0])) == (300, 100)
    first = as_csv([(row[-1], *row[:-1]) for row in rows], header=("result", *names)).encode()
    assert preview(first, "wide.csv")["mapping_guess"] == {"label": "result"}, "few values, before many of them"
