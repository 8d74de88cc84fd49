"""Whatever a file holds: no crash, no row lost."""

import csv
import io
import json
import tempfile
from pathlib import Path
from unittest import mock

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ingest.importing import Outcome, as_csv, import_file
from workers.contracts.errors import JobError
from workers.ingest import rejects
from workers.ingest.dialects import Dialect
from workers.ingest.images import decode
from workers.ingest.preview import preview
from workers.ingest.readers import delimited
from workers.ingest.readers.csv_records import parse
from workers.ingest.readers.delimited import DelimitedTable
from workers.ingest.readers.json_array import elements

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
PIECES = st.sampled_from(
    ['"', ",", "\n", "\r\n", "a", "b b", '""', "'", ";", "\t", "é", "好", " ", "\\", "=1", "train"]
)
NASTY = st.lists(PIECES, max_size=60).map("".join)


def attempt(source: bytes, **spec: object) -> Outcome | JobError:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return import_file(Path(folder), source, **spec)  # type: ignore[arg-type]
        except JobError as error:
            return error


@FUZZ
@given(st.lists(st.tuples(CELLS, CELLS), min_size=12, max_size=16), st.sampled_from([",", ";", "\t"]))
def test_every_row_that_a_csv_writer_wrote_is_kept_or_told(rows: list[tuple[str, str]], delimiter: str) -> None:
    # Enough good rows that the dialect is beyond doubt; what follows is anything.
    sure = [(f"good text {n}", "ab"[n % 2]) for n in range(300)]
    source = as_csv([*sure, *rows], delimiter=delimiter, quoting=csv.QUOTE_ALL)
    done = attempt(source.encode())
    assert isinstance(done, Outcome)
    assert done.result.rows + done.result.rejected == 300 + len(rows)
    usable = [(text, " ".join(label.split())) for text, label in rows if text.strip() and label.strip()]
    assert len([row for row in done.rows if not row["text"].startswith("good text ")]) <= len(usable)
    assert [row["text"] for row in done.rows[300:]] == [text for text, _ in usable]


@FUZZ
@given(NASTY)
def test_every_line_belongs_to_exactly_one_record(text: str) -> None:
    lines = io.StringIO(text, newline="").readlines()
    records = list(parse(lines, Dialect(","), 1000))
    starts = [record.line for record in records]
    assert starts == sorted(set(starts))
    covered = set(starts)
    for record in records:
        inner = sum(field.count("\n") + field.count("\r") - field.count("\r\n") for field in record.fields)
        if record.problem is None:
            covered |= set(range(record.line, record.line + inner + 1))
    for number, line in enumerate(lines, 1):
        assert number in covered or not line.strip()


ROWS = st.lists(
    st.sampled_from(["a,b\n", '"a ""b""","c\nd"\n', "好,é\r\n", ",\n", "a,\n", '"",b\n', '"a\r\nb",c\r\n', "'=1,b\n"])
    | st.sampled_from(
        ["\n", "a\n", "a,b,c\n", "a,b,\n", 'a "b",c\n', '"a"b,c\n', '"a,b\n', "a,b\r", " \n", "\ufeffa,b\n", "\0,b\n"]
    )
    | PIECES,
    max_size=60,
).map("".join)


@settings(FUZZ, max_examples=300)
@given(ROWS, st.binary(max_size=3), st.sampled_from(["text,label\n", "slipway_row,text,label\n"]), st.integers(1, 4))
def test_many_rows_at_once_are_what_they_are_one_by_one(rows: str, odd: bytes, header: str, size: int) -> None:
    source = header.encode() + rows.encode() + odd + rows[::-1].encode()

    def table() -> DelimitedTable:
        return DelimitedTable(io.BytesIO(source), "utf-8", "x.csv", 1000)

    with mock.patch.multiple(delimited, _LEAST=8 * size, _BLOCK=64 * size, HEAD_RECORDS=2):
        try:
            one_by_one = list(table().records())
        except JobError:
            return
        batches = list(table().batches())
    good = [(int(line), list(row)) for one in batches for line, row in zip(one.lines, one.cells.rows(), strict=True)]
    assert good == [(record.line, record.fields) for record in one_by_one if not record.problem]
    assert [record for one in batches for record in one.rejects] == [record for record in one_by_one if record.problem]


@FUZZ
@given(NASTY, st.sampled_from(["text", "recommendation"]))
def test_anything_after_good_rows_ends_in_a_result_that_adds_up(tail: str, kind: str) -> None:
    good = as_csv([(f"u{n % 9} text", f"i{n % 30}") for n in range(120)])
    done = attempt(
        (good + tail).encode(), kind=kind, mapping={"user": "text", "item": "label"} if kind != "text" else {}
    )
    if isinstance(done, Outcome):
        profile = done.result.profile
        assert done.result.rows + done.result.rejected + profile.get("merged", 0) == profile["rows_in_file"] >= 120


@FUZZ
@given(st.binary(max_size=400), st.sampled_from(["text", "recommendation", "image"]))
def test_any_bytes_end_in_a_result_or_a_card(source: bytes, kind: str) -> None:
    for prefix in (b"", b"text,label\n", b'{"text":', b"PAR1", b"PK\x03\x04", b"\x1f\x8b\x08", b"\xff\xfe"):
        attempt(prefix + source, kind=kind)


@FUZZ
@given(st.binary(max_size=400) | NASTY.map(str.encode))
def test_the_preview_of_any_bytes_is_an_answer_or_an_error_with_a_code(head: bytes) -> None:
    try:
        preview(head, "x.csv")
    except JobError as error:
        assert error.code in error.card().code


@FUZZ
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP"]),
    st.binary(max_size=600),
)
def test_any_bytes_after_an_image_mark_are_an_image_or_a_problem(magic: bytes, rest: bytes) -> None:
    decode(magic + rest, 10**6)


@FUZZ
@given(
    st.text(max_size=12)
    | st.lists(st.sampled_from(["'", "=", "-", "1", "e", "\t", "\n", "＝", ".", ","]), max_size=6).map("".join)
)
def test_a_neutralised_cell_is_no_formula_and_can_be_restored(cell: str) -> None:
    safe = rejects.neutralise(cell)
    assert rejects.restore(safe) == cell or not safe.startswith("'")
    assert rejects.neutralised(pl.DataFrame({"cell": [cell, None]}))["cell"].to_list() == [safe, None]
    if safe[:1] in ("=", "+", "-", "@", "\t", "\r"):
        float(safe.replace(",", "."))


JSON_PIECES = st.sampled_from(
    ["[", "]", "{", "}", ",", ":", '"', "\\", "\n", "a", "好", " ", "1", '{"text": "a b", "label": "x"}']
)


@FUZZ
@given(st.lists(JSON_PIECES, max_size=40).map("".join), st.integers(1, 7))
def test_an_array_is_cut_into_the_same_elements_however_it_arrives(tail: str, size: int) -> None:
    text = '[{"text": "a", "label": "b\\""},' + tail
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    whole, cut = list(elements(iter([text]), 1000)), list(elements(iter(pieces), 1000))
    assert whole == cut
    assert whole[0].text == '{"text": "a", "label": "b\\""}'
    starts = [element.line for element in whole]
    assert starts == sorted(starts)


@FUZZ
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=16), st.booleans())
def test_every_object_of_an_array_is_kept_or_told(rows: list[tuple[str, str]], is_ascii: bool) -> None:
    sure = [(f"good text {n}", "ab"[n % 2]) for n in range(300)]
    objects = [{"text": text, "label": label} for text, label in [*sure, *rows]]
    done = attempt(json.dumps(objects, ensure_ascii=is_ascii, indent=1).encode(), filename="x.json")
    assert isinstance(done, Outcome)
    assert done.result.rows + done.result.rejected == len(objects)
