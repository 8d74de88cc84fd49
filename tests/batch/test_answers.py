"""What comes out: the same rows in the same order, answers beside them, errors where there is no answer."""

import csv
import gzip
import io
import json
import random
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.batch.predicting import events, finish, job, output
from tests.ingest.importing import workbook
from tests.serving import bundles
from tests.serving.bundles import png
from workers.batch.questions import question
from workers.contracts.errors import JobError
from workers.contracts.events import Log
from workers.contracts.job import BatchSpec, FileOptions
from workers.serving.bundles import open_bundle

Made = dict[str, Path]


def rows_of(data: bytes, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode()), delimiter=delimiter))


def test_bad_rows_of_a_csv_keep_their_place_and_say_why(made: Made, tmp_path: Path) -> None:
    content = b'id;text\n1;good film\n2;\n3;"bad; ""really"""\n4;good;too;much\n5\n6;good\x00\n7;bad film\n'
    job_dir = job(tmp_path, made["text"], content, "text")
    result = finish(job_dir)
    rows = rows_of(output(job_dir), ";")
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 8)]
    assert [row["label"] for row in rows] == ["positive", "", "negative", "", "", "", "negative"]
    assert rows[2]["text"] == 'bad; "really"' and rows[3]["text"] == "good;too;much"
    assert [bool(row["error"]) for row in rows] == [not row["label"] for row in rows]
    assert "empty" in rows[1]["error"] and "4 fields" in rows[3]["error"] and "1 field;" in rows[4]["error"]
    assert (result.rows, result.failed, result.labels) == (7, 4, {"negative": 2, "positive": 1})
    assert result.columns == ["label", "score", "error"] and result.preview.columns == ["id", "text", *result.columns]


@pytest.mark.parametrize("kind", ["text", "several", "image", "recommendation"])
def test_a_file_gets_the_answers_that_an_endpoint_gives(made: Made, tmp_path: Path, kind: Any) -> None:
    rng = random.Random(0)
    raw: list[Any] = [" ".join(rng.choices(["good", "bad", "film", "a"], k=rng.randint(1, 40))) for _ in range(600)]
    content, name, bundle = json_lines("text", raw), "rows.jsonl", made.get(kind)
    if kind == "several":
        kind, bundle = "text", bundles.text_bundle(tmp_path / "several.zip", thresholds=[0.3, 0.6])
    if kind == "image":
        raw = [png(red, 255 - red) for red in range(0, 255, 4)]
        content, name = archive(**{f"{place:02d}__png": data for place, data in enumerate(raw)}), "photos.zip"
    if kind == "recommendation":
        raw = [{"user": rng.choice(["u1", "u2", "stranger"]), "k": 3} for _ in range(300)]
        content = json_lines("user", [one["user"] for one in raw])
    assert bundle is not None
    predictor = open_bundle(bundle).predictor
    wanted = predictor.predict([predictor.prepare(one) for one in raw])

    job_dir = job(tmp_path, bundle, content, kind, filename=name, format="jsonl", scores=True, k=3)
    result = finish(job_dir)
    rows = [json.loads(line) for line in output(job_dir).splitlines()]
    if kind == "recommendation":
        given = [
            {"items": [{"item": item, "score": score} for item, score in zip(row["items"], row["scores"], strict=True)]}
            | ({"fallback": row["fallback"]} if row["fallback"] else {})
            for row in rows
        ]
    else:
        given = [
            {name: row[name] for name in ("labels", "label", "score") if name in row}
            | {"scores": {label: row[f"score_{label}"] for label in predictor.labels}}
            for row in rows
        ]
    assert given == wanted
    told = [label for one in wanted for label in one.get("labels", [one.get("label") or one.get("fallback")]) if label]
    assert result.labels == dict(Counter(told))


def json_lines(field: str, values: list[Any]) -> bytes:
    return b"".join(json.dumps({field: value}).encode() + b"\n" for value in values)


def test_cells_that_a_spreadsheet_would_run_get_an_apostrophe_in_csv_alone(made: Made, tmp_path: Path) -> None:
    content = b"=n,text\n-5,good\n=1+1,@good\n"
    job_dir = job(tmp_path, made["text"], content, "text")
    finish(job_dir)
    first, second = rows_of(output(job_dir))
    assert (first["'=n"], second["'=n"], second["text"]) == ("-5", "'=1+1", "'@good")
    job_dir = job(tmp_path / "again", made["text"], content, "text", format="jsonl")
    finish(job_dir)
    assert [json.loads(line)["=n"] for line in output(job_dir).splitlines()] == ["-5", "=1+1"]


def test_names_that_the_file_has_are_not_overwritten(made: Made, tmp_path: Path) -> None:
    job_dir = job(tmp_path, made["text"], b"text,label,error\ngood,spam,none\n", "text", scores=True)
    assert finish(job_dir).columns == [
        "predicted_label",
        "score",
        "score_negative",
        "score_positive",
        "predicted_error",
    ]
    (row,) = rows_of(output(job_dir))
    assert (row["label"], row["error"], row["predicted_label"]) == ("spam", "none", "positive")
    assert float(row["score_positive"]) == float(row["score"]) > 0.9


def test_objects_of_json_lines_stay_whole(made: Made, tmp_path: Path) -> None:
    content = b'{"t": "good", "n": 1.50, "deep": {"a": [1]}}\n\nnot json\n[1]\n{"t": null}\n{"late": 2, "t": "bad"}\n'
    job_dir = job(tmp_path, made["text"], content, "text", filename="rows.jsonl", mapping={"text": "t"})
    assert finish(job_dir).failed == 3
    first, broken, listed, empty, last = map(json.loads, output(job_dir).splitlines())
    assert {name: first[name] for name in ("t", "n", "deep", "label", "error")} == {
        "t": "good",
        "n": 1.5,
        "deep": {"a": [1]},
        "label": "positive",
        "error": None,
    }
    assert b'"n": 1.50, "deep"' in output(job_dir), "numbers stay as they were written"
    assert broken["line"] == "not json" and listed["line"] == "[1]" and broken["label"] is listed["label"] is None
    assert empty["error"] and last["late"] == 2 and last["label"] == "negative"


def test_a_field_that_comes_late_gives_way_to_the_answer(made: Made, tmp_path: Path) -> None:
    content = json_lines("text", ["good"] * 600) + b'{"text": "bad", "label": "mine", "n": 1}\n{ }\n'
    job_dir = job(tmp_path, made["text"], content, "text", filename="rows.jsonl", mapping={"text": "text"})
    finish(job_dir)
    *_, late, empty = map(json.loads, output(job_dir).splitlines())
    assert (late["label"], late["n"]) == ("negative", 1) and empty["error"]


def test_fields_of_nested_objects_are_columns_of_csv(made: Made, tmp_path: Path) -> None:
    content = b'{"id": 1, "review": {"text": "good", "tags": ["a", "b"]}}\n'
    options = {"filename": "rows.jsonl", "mapping": {"text": "review.text"}, "format": "csv"}
    job_dir = job(tmp_path, made["text"], content, "text", **options)
    finish(job_dir)
    (row,) = rows_of(output(job_dir))
    assert (row["review.text"], row["review.tags"], row["label"]) == ("good", '["a","b"]', "positive")


def test_columns_of_parquet_keep_their_types(made: Made, tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array(range(700), pa.int32()),
            "text": ["good", "bad", None, "film"] * 175,
            "tags": [["a"], [], None, ["b", "c"]] * 175,
            "at": pa.array([0] * 700, pa.timestamp("ms", "UTC")),
        }
    )
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=100)
    job_dir = job(tmp_path, made["text"], stream.getvalue(), "text", filename="rows.parquet")
    result = finish(job_dir)
    answered = pq.read_table(io.BytesIO(output(job_dir)))
    assert answered.select(table.column_names).equals(table)
    assert answered["label"].to_pylist()[:3] == ["positive", "negative", None]
    assert answered.schema.field("score").type == pa.float64() and (result.rows, result.failed) == (700, 175)


@pytest.mark.parametrize(
    ("format", "read"), [("csv", rows_of), ("jsonl", lambda data: list(map(json.loads, data.splitlines())))]
)
def test_answers_come_in_another_format_when_asked(made: Made, tmp_path: Path, format: str, read: Any) -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": ["good", "bad"], "n": [[1, 2], None]}), stream)
    job_dir = job(tmp_path, made["text"], stream.getvalue(), "text", filename="rows.parquet", format=format)
    assert finish(job_dir).format == format
    rows = read(output(job_dir))
    assert [row["label"] for row in rows] == ["positive", "negative"]
    assert rows[0]["n"] in ("[1,2]", [1, 2])


def test_each_file_of_an_archive_is_a_row(made: Made, tmp_path: Path) -> None:
    files = {"a/red.png": png(255, 0), "blue.png": png(0, 255), "notes.txt": b"hello", "cut.png": png(9, 9)[:40]}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in {"__MACOSX/._x": b"junk", **files, "empty.png": b""}.items():
            archive.writestr(name, data)
    job_dir = job(tmp_path, made["image"], stream.getvalue(), "image", filename="photos.zip")
    assert finish(job_dir).failed == 3
    rows = rows_of(output(job_dir))
    assert [row["file"] for row in rows] == [*files, "empty.png"]
    assert [row["label"] for row in rows] == ["red", "blue", "", "", ""] and all(row["error"] for row in rows[2:])


def test_a_name_that_is_no_text_is_shown_as_far_as_it_is_one(made: Made, tmp_path: Path) -> None:
    stream, data = io.BytesIO(), png(255, 0)
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as packed:
        entry = tarfile.TarInfo("caf\xe9.png")
        entry.size = len(data)
        packed.addfile(entry, io.BytesIO(data))
    job_dir = job(tmp_path, made["image"], stream.getvalue(), "image", filename="photos.tar")
    finish(job_dir)
    assert rows_of(output(job_dir))[0]["file"] == "caf\ufffd.png"


def test_columns_of_parquet_keep_their_names_and_are_shown_as_far_as_they_are_text(made: Made, tmp_path: Path) -> None:
    table = pa.table({"te\0xt": ["good film"], "n": [1]})
    pq.write_table(table, stream := io.BytesIO())
    job_dir = job(
        tmp_path, made["text"], stream.getvalue(), "text", filename="a.parquet", mapping={"text": "te\ufffdxt"}
    )
    assert finish(job_dir).preview.columns[:2] == ["te\ufffdxt", "n"]
    assert pq.read_schema(io.BytesIO(output(job_dir))).names[:2] == ["te\0xt", "n"]


def test_recommendations_are_lists(made: Made, tmp_path: Path) -> None:
    content = b'who\nu1\nnobody\n" "\n'
    job_dir = job(tmp_path / "users", made["recommendation"], content, "recommendation", k=2, format="jsonl")
    finish(job_dir)
    known, stranger, missing = map(json.loads, output(job_dir).splitlines())
    assert (known["items"], known["fallback"]) == (["b", "c"], None) and len(known["scores"]) == 2
    assert stranger["fallback"] == "popularity" and missing["error"] and missing["items"] is None
    baskets = b'basket\n"[""a"", ""b""]"\nc|d\n'
    asked = {"mapping": {"items": "Basket"}, "k": 1}
    job_dir = job(tmp_path / "baskets", made["recommendation"], baskets, "recommendation", **asked)
    finish(job_dir)
    assert [json.loads(row["items"]) for row in rows_of(output(job_dir))] == [["c"], ["e"]]


def test_columns_of_a_table_are_found_by_name() -> None:
    manifest = {"preprocessing": {"columns": [{"name": "Height"}, {"name": "plant_colour"}, {"name": "found"}]}}
    columns = ["id", "plant colour", "height", "day"]

    def asked(**mapping: str) -> BatchSpec:
        return BatchSpec(prediction="p", project="p", model="m", kind="tabular", filename="f", mapping=mapping)

    found = question(asked(), manifest, columns, [])
    assert (found.columns, found.missing) == (["height", "plant colour"], ("found",))
    assert found.ask(31.0, None) == {"Height": "31", "plant_colour": ""}
    assert question(asked(found="day"), manifest, columns, []).missing == ()
    with pytest.raises(JobError, match="column_missing"):
        question(asked(), manifest, ["a", "b"], [])
    with pytest.raises(JobError, match="column_missing"):
        question(asked(found="gone"), manifest, columns, [])


TABLE = b"id,text\n1,good film\n2,bad film\n"


def archive(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, content in files.items():
            packed.writestr(name.replace("__", "."), content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("rows.csv.gz", gzip.compress(TABLE), ["1", "2"]),
        ("rows.csv.zst", pa.compress(TABLE, "zstd", asbytes=True), ["1", "2"]),
        ("rows.zip", archive(rows__csv=TABLE, notes__md=b"# Notes"), ["1", "2"]),
        (
            "rows.zip",
            archive(a__csv=TABLE, b__csv=TABLE.replace(b"1,", b"3,"), other__csv=b"x\n1\n"),
            ["1", "2", "3", "2"],
        ),
    ],
)
def test_packed_tables_are_answered_as_they_are(
    made: Made, tmp_path: Path, name: str, content: bytes, ids: list[str]
) -> None:
    job_dir = job(tmp_path, made["text"], content, "text", filename=name)
    finish(job_dir)
    rows = rows_of(output(job_dir))
    assert [row["id"] for row in rows] == ids and {row["label"] for row in rows} == {"positive", "negative"}
    said = " ".join(event.message for event in events(job_dir, Log))
    assert ("notes.md" in said or "other.csv" in said) == name.endswith(".zip")
    assert not list(job_dir.root.glob(".staging-*"))


def test_a_variant_of_the_model_answers_where_it_is_chosen(tmp_path: Path) -> None:
    bundle = bundles.variant_bundle(tmp_path / "both.zip")
    scores = []
    for variant in ("", "int8"):
        job_dir = job(tmp_path / f"job-{variant}", bundle, TABLE, "text", variant=variant)
        finish(job_dir)
        scores.append([float(row["score"]) for row in rows_of(output(job_dir))])
    assert all(small < whole for whole, small in zip(*scores, strict=True))


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        ("text", b"a,b\n1,2\n3,4\n", "column_missing"),
        ("text", b"text\n", "no_rows"),
        ("text", b"", "file_empty"),
        ("image", b"text\ngood\n", "format_unknown"),
        ("text", b"PK\x03\x04" + b"\0" * 60, "archive_unreadable"),
    ],
)
def test_a_file_that_cannot_be_asked_about_is_refused(
    made: Made, tmp_path: Path, kind: Any, content: bytes, code: str
) -> None:
    with pytest.raises(JobError) as refused:
        finish(job(tmp_path, made[kind], content, kind))
    assert refused.value.code == code


def test_a_workbook_is_read_as_it_was_told(made: Made, tmp_path: Path) -> None:
    book = workbook(
        ("Notes", [["who", "what"], ["Ann", "asked"]]), ("Data", [["Films", ""], [1, "good film"], [2, "bad film"]])
    )
    options = FileOptions(sheet="Data", header=False, first_line=2)
    job_dir = job(
        tmp_path, made["text"], book, "text", filename="a.xlsx", options=options, mapping={"text": "column_2"}
    )
    finish(job_dir)
    assert [row["label"] for row in rows_of(output(job_dir)) if row["label"]] == ["positive", "negative"]
