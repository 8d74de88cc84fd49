"""Tables with lines above the names of their columns, as exports write them: found, told, and chosen otherwise."""

from pathlib import Path

import pytest

from tests.ingest.importing import Outcome, failure, import_file, reviews
from workers.contracts.job import FileOptions
from workers.ingest.preview import preview

ROWS = [(text, label, str(n), "shop") for n, (text, label) in enumerate(reviews(30))]


def lines(delimiter: str = ",", width: int = 2, names: tuple[str, ...] = ("text", "label", "n", "place")) -> list[str]:
    return [delimiter.join(row[:width]) for row in (names, *ROWS)]


def above(done: Outcome) -> list[tuple[str, str]]:
    return [(row["line"], row["code"]) for row in done.rejected]


@pytest.mark.parametrize(
    ("titles", "delimiter", "width"),
    [
        (["Report of 2024", ""], ",", 2),
        (["Report of 2024", "", "made by Anna"], ";", 2),
        (["Report of 2024"], "\t", 2),
        (["Sales, returns; and all the rest", ""], ";", 3),
        (["Report of 2024,,,", ",,,"], ",", 4),
        (['"Account:";"DE12 / current"', '"From:";"01.01.2024"', '"User:";"anna"', ""], ";", 4),
        (['A "quoted" title'], "|", 3),
        (["Sales, January, 2024"], ",", 4),
    ],
)
def test_titles_above_the_names_are_told_and_left_out(
    tmp_path: Path, titles: list[str], delimiter: str, width: int
) -> None:
    content = "\n".join([*titles, *lines(delimiter, width)]) + "\n"
    told = [str(place) for place, title in enumerate(titles, 1) if title.strip()]
    done = import_file(tmp_path, content)
    assert (done.result.rows, done.result.mapping) == (30, {"text": "text", "label": "label"})
    assert above(done) == [(line, "row_malformed") for line in told]
    seen = preview(content.encode(), "report.csv")
    assert (seen["header"], seen["first_line"], seen["problems"]) == (True, len(titles) + 1, [])
    assert seen["columns"][0]["name"] == "text" and seen["rows"][0][:2] == ["review number 0", "good"]
    assert seen["top"][0]["line"] == 1 and len(seen["top"]) == 20


@pytest.mark.parametrize(
    ("first", "width"),
    [
        (["what they said,verdict"], 2),
        (["text,label,,"], 4),
        (["text"], 2),  # a name is missing: the rows say so themselves
    ],
)
def test_names_are_no_titles(first: list[str], width: int) -> None:
    assert preview("\n".join([*first, *lines(width=width)[1:]]).encode(), "x.csv")["first_line"] == 1


def test_rows_that_fill_few_cells_are_no_titles() -> None:
    sparse = [f"{n % 5},,,," for n in range(3)] + [f"{n % 5},{n},{n},{n},{n}" for n in range(30)]
    assert preview("\n".join(sparse).encode(), "x.csv")["first_line"] == 1


def test_rows_with_names_of_their_own_have_one_field_more_than_the_header(tmp_path: Path) -> None:
    """As R writes them."""
    content = "text;label\n" + "".join(f"{n};{text};{label}\n" for n, (text, label) in enumerate(reviews(30), 1))
    done = import_file(tmp_path, content)
    assert (done.result.rows, done.rejected) == (30, [])
    assert preview(content.encode(), "x.csv")["columns"][0]["name"] == "column_1"


def test_delimiters_too_many_at_the_end_of_each_row_are_no_names(tmp_path: Path) -> None:
    done = import_file(tmp_path, "text,label\n" + "".join(f"{text},{label},\n" for text, label in reviews(30)))
    assert (done.result.rows, done.rows[0]["text"]) == (30, "review number 0")


def test_which_line_names_the_columns_can_be_said(tmp_path: Path) -> None:
    content = "text,label\nwhat they said,verdict\n" + "\n".join(lines()[1:])
    assert import_file(tmp_path, content).result.rows == 31
    said = import_file(tmp_path, content, first_line=2, mapping={"text": "what they said", "label": "verdict"})
    assert (said.result.rows, above(said)) == (30, [("1", "row_malformed")])
    bare = preview(content.encode(), "x.csv", FileOptions(first_line=3, header=False))
    assert (bare["columns"][0]["name"], bare["rows"][0], bare["first_line"]) == (
        "column_1",
        ["review number 0", "good"],
        3,
    )
    error = failure(tmp_path, content, first_line=150)
    assert (error.code, "line 150" in error.message) == ("no_rows", True)


def test_titles_of_a_large_file_do_not_keep_it_from_being_read_at_once(tmp_path: Path) -> None:
    rows = "".join(f"review number {n},{'good' if n % 2 else 'bad'}\n" for n in range(3000))
    done = import_file(tmp_path, f"All reviews\n\ntext,label\n{rows}")
    assert (done.result.rows, above(done)) == (3000, [("1", "row_malformed")])
    assert done.rows[-1]["text"] == "review number 2999"
