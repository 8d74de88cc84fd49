"""CSV of any dialect and encoding: all good rows in, all bad rows told with their line."""

import csv
from pathlib import Path

import pytest

from tests.ingest.importing import as_csv, import_file, reviews

CHINESE = [(f"这部电影第{n}次看还是很好看", ("好", "坏")[n % 2]) for n in range(20)]
FRENCH = [(f"Le café était délicieux, {n}ème visite", ("génial", "déçu")[n % 2]) for n in range(20)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_even_where_texts_hold_the_others(tmp_path: Path, delimiter: str) -> None:
    rows = [(f"one, two; three | {n}", label) for n, (_, label) in enumerate(reviews())]
    done = import_file(tmp_path, as_csv(rows, delimiter=delimiter))
    assert done.result.profile["delimiter"] == delimiter
    assert [(row["text"], row["label"]) for row in done.rows] == rows


@pytest.mark.parametrize(
    ("rows", "encoding", "told"),
    [
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8"),
        (CHINESE, "utf-16", "utf-16"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        (CHINESE, "utf-16-be", "utf-16-be"),
        (CHINESE, "gb18030", "gb18030"),
        (FRENCH, "utf-8", "utf-8"),
        (FRENCH, "latin-1", "cp1252"),
        (FRENCH, "cp1252", "cp1252"),
        (FRENCH, "utf-16", "utf-16"),
    ],
)
def test_the_encoding_is_told_by_the_bytes(
    tmp_path: Path, rows: list[tuple[str, str]], encoding: str, told: str
) -> None:
    done = import_file(tmp_path, as_csv(rows).encode(encoding))
    assert done.result.profile["encoding"] == told
    assert [(row["text"], row["label"]) for row in done.rows] == rows
    assert done.result.rejected == 0


def test_spaces_around_header_names_do_no_harm(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv(reviews(), header=(" text ", "\tlabel")), mapping={"text": "text"})
    assert done.result.mapping == {"text": "text", "label": "label"}


def test_a_quoted_field_of_several_lines_keeps_line_numbers_true(tmp_path: Path) -> None:
    source = as_csv([("first\nsecond\r\nthird", "good"), ("no label", ""), *reviews()])
    done = import_file(tmp_path, source)
    assert done.rows[0]["text"] == "first\nsecond\r\nthird"
    assert done.rejected == [
        {"line": "5", "code": "label_missing", "message": "The label is empty.", "text": "no label", "label": ""}
    ]


def test_a_quote_that_is_never_closed_costs_its_own_line_only(tmp_path: Path) -> None:
    lines = as_csv(reviews(60)).splitlines()
    lines.insert(20, '"never closed,good')
    lines.insert(40, 'fine,"stray" text,good')
    done = import_file(tmp_path, "\n".join(lines))
    assert done.result.rows == 60
    assert [(row["line"], row["code"]) for row in done.rejected] == [("21", "row_malformed"), ("41", "row_malformed")]
    assert done.rejected[0]["text"] == '"never closed'


def test_an_unclosed_quote_in_the_last_line_is_told(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv(reviews()) + 'last,"good')
    assert [(row["line"], row["code"]) for row in done.rejected] == [("42", "row_malformed")]


def test_rows_of_another_width_are_told_with_their_fields(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv(reviews()) + "too,many,fields\nonly one\ntrailing,good,,\n")
    assert done.rows[-1]["text"] == "trailing"
    assert [(row["line"], row["code"], row["text"], row["label"]) for row in done.rejected] == [
        ("42", "row_malformed", "too", "many,fields"),
        ("43", "row_malformed", "only one", ""),
    ]
    assert done.issue("row_malformed")["examples"][0] == {"line": 42, "value": "too,many,fields"}


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    done = import_file(tmp_path, "\n\n" + as_csv(reviews()) + "\n   \n\n")
    assert (done.result.rows, done.result.rejected) == (40, 0)


def test_bytes_that_are_no_text_cost_their_row_only(tmp_path: Path) -> None:
    source = as_csv([(f"schön {n}", ("a", "b")[n % 2]) for n in range(40)]).encode()
    done = import_file(tmp_path, source + b"broken \xff\xfe,a\nzero \x00 byte,b\n")
    assert [(row["line"], row["code"]) for row in done.rejected] == [
        ("42", "row_undecodable"),
        ("43", "row_undecodable"),
    ]
    assert done.rejected[0]["text"] == "broken \ufffd\ufffd"


def test_a_line_longer_than_allowed_is_rejected_without_reading_it_into_memory(tmp_path: Path) -> None:
    source = as_csv(reviews()) + "x" * 50_000 + ",good\nafter,bad\n"
    done = import_file(tmp_path, source, limits={"max_field_chars": 10_000})
    assert [(row["line"], row["code"]) for row in done.rejected] == [("42", "text_too_long")]
    assert done.rows[-1]["text"] == "after"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_is_one(tmp_path: Path, ending: str) -> None:
    done = import_file(tmp_path, as_csv(reviews()).replace("\n", ending).encode())
    assert (done.result.rows, done.result.rejected) == (40, 0)


def test_single_quotes_and_backslashes_are_found(tmp_path: Path) -> None:
    single = "text,label\n" + "".join(f"'a, b {n}',{label}\n" for n, (_, label) in enumerate(reviews()))
    assert import_file(tmp_path, single).rows[0]["text"] == "a, b 0"
    escaped = "text,label\n" + "".join(f'"he said \\"{n}, no\\"",{label}\n' for n, (_, label) in enumerate(reviews()))
    assert import_file(tmp_path, escaped).rows[0]["text"] == 'he said "0, no"'


def test_the_separator_line_of_spreadsheets_is_obeyed(tmp_path: Path) -> None:
    done = import_file(tmp_path, "sep=;\n" + as_csv([*reviews(), ("", "good")], delimiter=";"))
    assert done.result.rows == 40
    assert done.rejected[0]["line"] == "43"


def test_tsv_with_stray_quotes_reads_them_as_characters(tmp_path: Path) -> None:
    rows = "".join(f'"unbalanced {n}\t{label}\n' for n, (_, label) in enumerate(reviews()))
    done = import_file(tmp_path, "text\tlabel\n" + rows, filename="data.tsv")
    assert done.result.rows == 40
    assert done.rows[0]["text"] == '"unbalanced 0'


def test_two_columns_of_the_same_name_and_one_without_a_name_are_kept_apart(tmp_path: Path) -> None:
    rows = [(text, "x", label, "y") for text, label in reviews()]
    done = import_file(tmp_path, as_csv(rows, header=("text", "text", "label", "")), mapping={"text": "text_2"})
    assert done.rows[0]["text"] == "x"


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1", "'=already", "''+twice", "'plain", "-1.5e3", "plain"]


def test_errors_csv_runs_nothing_in_a_spreadsheet_and_gives_the_originals_back(tmp_path: Path) -> None:
    first = import_file(tmp_path, as_csv([*reviews(), *((cell, "") for cell in FORMULAS)]))
    cells = [row["text"] for row in first.rejected]
    assert cells == [
        *("'=1+1", "+1", "-1", "'@SUM(A1)", "'\t=1", "'＝1", "''=already", "'''+twice", "'plain", "-1.5e3", "plain")
    ]
    lines = (first.folder.output / "errors.csv").read_text()
    # As a person would repair it: fill in the labels and import the file again.
    repaired = as_csv(
        [(str(n), "label_missing", "", cell, ("a", "b")[n % 2]) for n, cell in enumerate(cells)],
        header=tuple(lines.splitlines()[0].split(",")),
    )
    second = import_file(tmp_path, repaired)
    assert [row["text"] for row in second.rows] == FORMULAS


def test_a_reading_trap_of_unclosed_quotes_takes_linear_time(tmp_path: Path) -> None:
    trap = 'x"y,"\n' * 30_000
    source = as_csv(reviews(400), quoting=csv.QUOTE_ALL) + trap
    done = import_file(tmp_path, source, limits={"max_field_chars": 1000})
    assert (done.result.rows, done.result.rejected) == (400, 30_000)


def test_many_rows_read_at_once_are_what_they_are_one_by_one(tmp_path: Path) -> None:
    """Blocks of plain rows around odd ones: the same rows, the same lines, the same rejects."""
    rows = [(f'he said "{n}", and\nleft' if n % 7 == 0 else f"row {n}", "ab"[n % 2]) for n in range(20_000)]
    lines = as_csv(rows).splitlines(keepends=True)
    for place, odd in (
        (9_000, 'odd "quote,a\n'),
        (15_000, "too,many,fields\n"),
        (20_000, '"never closed,a\n'),
        (22_000, "\n"),
    ):
        lines.insert(place, odd)
    done = import_file(tmp_path, "".join(lines))
    assert sorted(row["text"] for row in done.rows) == sorted([*(text for text, _ in rows), 'odd "quote'])
    assert [row["line"] for row in done.rejected] == ["15001", "20001"]
