"""JSON Lines and Parquet give the same rows as CSV does."""

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.importing import failure, import_file, reviews
from workers.ingest.preview import preview


def as_json_lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


OBJECTS = [{"text": text, "label": label} for text, label in reviews()]


def test_json_lines_are_read_whatever_the_order_of_fields(tmp_path: Path) -> None:
    turned = [dict(reversed(one.items())) for one in OBJECTS[20:]]
    done = import_file(tmp_path, as_json_lines(OBJECTS[:20] + turned), filename="data.jsonl")
    assert [(row["text"], row["label"]) for row in done.rows] == reviews()


def test_each_bad_line_of_json_is_told(tmp_path: Path) -> None:
    source = (
        as_json_lines(OBJECTS) + '{"text": "cut\n[1]\n\n{"label": "good"}\n{"text": "half \\ud800", "label": "bad"}\n'
    )
    done = import_file(tmp_path, source)
    assert [(row["line"], row["code"]) for row in done.rejected] == [
        ("41", "row_malformed"),
        ("42", "row_malformed"),
        ("44", "text_missing"),
        ("45", "row_malformed"),
    ]


def test_labels_that_are_numbers_become_the_same_text_from_every_format(tmp_path: Path) -> None:
    texts = [text for text, _ in reviews()]
    numbers = [float(n % 3) for n in range(40)]
    from_json = as_json_lines([{"text": text, "label": int(n)} for text, n in zip(texts, numbers, strict=True)])
    from_parquet = as_parquet(pa.table({"text": texts, "label": numbers}))
    from_csv = "text,label\n" + "".join(f"{text},{int(n)}\n" for text, n in zip(texts, numbers, strict=True))
    results = [import_file(tmp_path, source).result for source in (from_json, from_parquet, from_csv)]
    assert len({result.content_hash for result in results}) == 1
    assert results[0].classes == {"0": 14, "1": 13, "2": 13}


def test_parquet_reads_dictionaries_times_and_missing_cells(tmp_path: Path) -> None:
    count = 30
    table = pa.table(
        {
            "user_id": pa.array([f"u{n % 5}" for n in range(count)]).dictionary_encode(),
            "item_id": pa.array(range(count), pa.int64()),
            "rating": pa.array([4.5] * (count - 1) + [None], pa.float64()),
            "timestamp": pa.array([dt.datetime(2024, 1, 1) + dt.timedelta(hours=n) for n in range(count)]),
            "embedding": pa.array([[0.5]] * count),
        }
    )
    done = import_file(tmp_path, as_parquet(table), kind="recommendation", filename="data.parquet")
    assert done.result.rows == 29
    assert done.rejected[0]["code"] == "rating_invalid"
    assert done.rejected[0]["line"] == "30"
    assert done.rows[1]["timestamp"] == 1_704_067_200 + 3600


def test_parquet_of_many_row_groups_keeps_the_order(tmp_path: Path) -> None:
    texts, labels = zip(*reviews(500), strict=True)
    source = as_parquet(pa.table({"label": labels, "text": texts}), row_group_size=7)
    assert [row["text"] for row in import_file(tmp_path, source).rows] == list(texts)


class Money(pa.ExtensionType):
    """A type of somebody's own."""

    def __init__(self) -> None:
        super().__init__(pa.string(), "test.money")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "Money":
        return cls()


def test_extension_types_are_refused_before_any_data(tmp_path: Path) -> None:
    column = pa.ExtensionArray.from_storage(Money(), pa.array(["1"] * 20))
    error = failure(tmp_path, as_parquet(pa.table({"text": column, "label": ["a", "b"] * 10})))
    assert error.code == "file_unreadable"
    assert "extension type" in error.message


GOOD = as_parquet(pa.table({"text": [f"t{n}" for n in range(100)], "label": ["a", "b"] * 50}))


@pytest.mark.parametrize(
    "source",
    [
        GOOD[:-1],
        GOOD[:200] + GOOD[-8:],
        b"PARE" + GOOD[4:-4] + b"PARE",
        b"PAR1" + b"\0" * 40 + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
        b"PAR1PAR1",
    ],
    ids=lambda value: str(len(value)),
)
def test_damaged_encrypted_and_lying_parquet_is_unreadable(tmp_path: Path, source: bytes) -> None:
    assert failure(tmp_path, source).code == "file_unreadable"


def test_a_flipped_byte_never_crashes_the_reader(tmp_path: Path) -> None:
    from workers.contracts.errors import JobError

    for place in range(4, len(GOOD), 9):
        damaged = bytearray(GOOD)
        damaged[place] ^= 0x55
        try:
            import_file(tmp_path, bytes(damaged))
        except JobError as error:
            assert error.code in {"file_unreadable", "column_missing", "no_rows", "one_class_only", "too_many_rows"}


def test_numbers_of_classes_that_parquet_names_become_their_names(tmp_path: Path) -> None:
    texts = [text for text, _ in reviews()]
    table = pa.table({"text": texts, "label": pa.array([n % 2 for n in range(40)], pa.int64())})
    features = {"label": {"names": ["good", "bad"], "_type": "ClassLabel"}, "text": {"dtype": "string"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    done = import_file(tmp_path, as_parquet(table), filename="data.parquet")
    assert [(row["text"], row["label"]) for row in done.rows] == reviews()


@pytest.mark.parametrize("kind", ["text", "tabular"])
def test_a_column_of_parquet_may_be_called_anything(tmp_path: Path, kind: str) -> None:
    texts, labels = zip(*reviews(), strict=True)
    table = pa.table({"te\0xt": texts, "n\0": [n % 7 for n in range(len(texts))], "label": labels})
    done = import_file(tmp_path, as_parquet(table), kind, "data.parquet", mapping={"label": "label"})
    assert done.result.rows == len(texts)


def test_columns_of_parquet_that_are_not_read_are_told(tmp_path: Path) -> None:
    texts, labels = zip(*reviews(), strict=True)
    nested = [{"scores": [{"by": "ann", "points": 1}], "source": "web"}] * 40
    table = pa.table(
        {
            "text": texts,
            "label": labels,
            "spans": [[{"from": 1}]] * 40,
            "extra": pa.array([[("key", "value")]] * 40, pa.map_(pa.string(), pa.string())),
            "vector": [[0.5, 1.5]] * 40,
            "thumb\0": [b"\xff"] * 40,
            "about": nested,
        }
    )
    source = as_parquet(table)
    done = import_file(tmp_path, source, filename="data.parquet")
    told = done.issue("column_left_out")
    assert (told["severity"], told["count"], done.result.rows) == ("info", 5, 40)
    assert {one["column"]: one["value"].partition(": ")[2] for one in told["examples"]} == {
        "spans": "it holds lists",
        "extra": "it holds maps",
        "vector": "it holds lists",
        "thumb\ufffd": "it holds bytes",
        "about.scores": "it holds lists",
    }
    (tmp_path / "upload").write_bytes(source)
    seen = preview(tmp_path / "upload", "data.parquet")
    assert [one["name"] for one in seen["columns"]] == ["text", "label", "about.source"]
    assert seen["columns_left_out"]["extra"] == "it holds maps" and len(seen["columns_left_out"]) == 5


def test_an_object_that_is_empty_in_some_rows_is_no_column_beside_its_fields(tmp_path: Path) -> None:
    rows: list[Any] = [{"account": {"id": f"u{n % 7}"}, "product": {"sku": f"s{n % 5}"}, "at": 1e9} for n in range(35)]
    rows[3:3] = [{"account": {}, "product": None}]
    done = import_file(tmp_path, as_json_lines(rows), kind="recommendation", filename="data.jsonl")
    assert done.result.mapping == {"user": "account.id", "item": "product.sku", "timestamp": "at"}
    assert (done.result.rows, [row["line"] for row in done.rejected]) == (35, ["4"])


def test_a_column_that_is_mostly_empty_is_not_guessed_before_one_that_is_full(tmp_path: Path) -> None:
    rows = [{"item": None, "sku": f"s{n % 5}", "user": f"u{n % 7}"} for n in range(35)]
    rows[0]["item"] = "old"
    done = import_file(tmp_path, as_json_lines(rows), kind="recommendation", filename="data.jsonl")
    assert done.result.mapping["item"] == "sku" and done.result.rows == 35
