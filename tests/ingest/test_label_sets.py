"""Rows with several labels: how files write them, how they are kept, corrected, exported and dealt into splits."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.importing import Outcome, as_csv, as_zip, failure, found, import_file, outcome, picture
from workers.contracts.errors import JobError
from workers.contracts.job import IngestSpec, JobSpec
from workers.contracts.jobdir import JobDir
from workers.ingest import label_sets
from workers.ingest.export import csv_of, zip_of
from workers.ingest.preview import preview
from workers.ingest.run import run

# Every fifth row has none.
SETS = [[], ["drama"], ["comedy", "drama"], ["comedy"], ["comedy", "drama", "war"]]
TEXTS = [(f"film number {n}", SETS[n % 5]) for n in range(60)]
COUNTS = {"comedy": 36, "drama": 36, "war": 12}


def of(done: Outcome, key: str = "text") -> dict[str, list[str]]:
    return {row[key]: row["labels"] for row in done.rows}


def parquet_of(rows: list[tuple[str, Any]], names: list[str] | None = None) -> bytes:
    """With `names` as Hugging Face's datasets writes lists of classes."""
    table = pa.table({"text": [text for text, _ in rows], "labels": [labels for _, labels in rows]})
    if names:
        inner = {"names": names, "_type": "ClassLabel"}
        about = {"info": {"features": {"labels": {"feature": inner, "_type": "Sequence"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(about)})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def task(text: str, labels: list[str]) -> dict[str, Any]:
    value = {"type": "choices", "from_name": "genres", "value": {"choices": labels}}
    return {"data": {"text": text}, "annotations": [{"result": [value]}]}


NUMBERS = ["war", "comedy", "drama"]
FILES = {
    "json.csv": as_csv([(text, json.dumps(labels)) for text, labels in TEXTS]),
    "python.csv": as_csv([(text, repr(labels)) for text, labels in TEXTS], header=("text", "genres")),
    "lists.jsonl": "\n".join(json.dumps({"text": text, "tags": labels}) for text, labels in TEXTS),
    "array.json": json.dumps([{"text": text, "labels": labels[::-1] * 2} for text, labels in TEXTS]),
    "lists.parquet": parquet_of(TEXTS),
    "classes.parquet": parquet_of([(text, [NUMBERS.index(one) for one in labels]) for text, labels in TEXTS], NUMBERS),
}


@pytest.mark.parametrize("name", FILES)
def test_a_column_of_lists_gives_each_row_its_labels(tmp_path: Path, name: str) -> None:
    done = import_file(tmp_path, FILES[name], filename=name)
    assert of(done) == dict(TEXTS)
    assert done.result.classes == COUNTS
    assert done.result.profile["multi_label"] is True
    assert done.result.profile["labels_per_row"] == {"mean": 1.4, "max": 3, "none": 12}
    assert [json.loads(row["label"]) for row in done.rows] == [row["labels"] for row in done.rows]
    assert {"name": "labels", "type": "labels"} in done.result.columns


def test_characters_of_json_that_no_text_has_are_replaced_in_labels(tmp_path: Path) -> None:
    lists = [["war\0"], ["comedy"]] * 10
    source = "\n".join(json.dumps({"text": f"film {n}", "label": labels}) for n, labels in enumerate(lists))
    assert import_file(tmp_path, source, filename="a.jsonl").result.classes == {"comedy": 10, "war\ufffd": 10}


def test_a_sign_between_labels_counts_where_it_is_asked_for_and_is_only_offered_else(tmp_path: Path) -> None:
    source = as_csv([(text, " | ".join(labels)) for text, labels in TEXTS])
    assert preview(source.encode(), "films.csv")["separator_guesses"] == {"label": "|"}
    plain = import_file(tmp_path, source)
    assert "multi_label" not in plain.result.profile and "comedy | drama" in plain.result.classes
    assert plain.issue("labels_in_one")["count"] == 2
    done = import_file(tmp_path, source, mapping={"label_separator": "|"})
    assert of(done) == {text: labels for text, labels in TEXTS if labels}
    assert [row["code"] for row in done.rejected] == ["label_missing"] * 12
    assert done.result.mapping == {"text": "text", "label": "label", "label_separator": "|"}


@pytest.mark.parametrize("separator", ["|", ""])
def test_an_empty_cell_is_no_label_where_that_is_said(tmp_path: Path, separator: str) -> None:
    def cell(labels: list[str]) -> str:
        return (separator.join(labels) if separator else json.dumps(labels)) if labels else "  "

    source = as_csv([(text, cell(labels)) for text, labels in TEXTS])
    seen = preview(source.encode(), "films.csv")
    assert seen["empty_labels"] == {"label": 12}
    mapping = {"label_separator": separator} if separator else {}
    left_out = import_file(tmp_path, source, mapping=mapping)
    assert [row["code"] for row in left_out.rejected] == ["label_missing"] * 12
    done = import_file(tmp_path, source, mapping={**mapping, "empty_label": "none"})
    assert of(done) == dict(TEXTS) and not done.rejected
    assert done.result.profile["labels_per_row"]["none"] == 12
    assert done.result.mapping["empty_label"] == "none"


def test_an_empty_cell_is_a_gap_where_rows_have_one_label(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv([*PLAIN[:40], ("gap", "")]), mapping={"empty_label": "none"})
    assert [row["code"] for row in done.rejected] == ["label_missing"] and "multi_label" not in done.result.profile


def test_a_label_that_merely_holds_a_comma_stays_whole(tmp_path: Path) -> None:
    names = ["Food, drink", "Home, garden", "Sports"]
    source = as_csv([(f"row {n}", names[n % 3]) for n in range(60)])
    done = import_file(tmp_path, source)
    assert set(done.result.classes) == set(names) and "labels_in_one" not in done.codes()
    assert preview(source.encode(), "rows.csv")["separator_guesses"] == {}
    cities = [f"{city}, {land}" for city, land in (("Ulm", "Germany"), ("Bonn", "Germany"), ("Lyon", "France"))]
    assert label_sets.guess_separator(Counter(cities * 20)) is None


PLAIN = [(f"row {n}", ("good", "bad")[n % 2]) for n in range(600)]
BOTH = '["good", "bad"]'


def test_a_few_lists_among_plain_labels_are_refused_one_by_one(tmp_path: Path) -> None:
    # Beyond the first rows, too; a list of one label is that label.
    rows = [*PLAIN, ("both", BOTH), ("one", '["good"]'), ("none", "[]"), *[(f"more {n}", "bad") for n in range(9)]]
    done = import_file(tmp_path, as_csv(rows))
    assert "multi_label" not in done.result.profile and set(done.result.classes) == {"good", "bad"}
    assert {row["text"]: row["label"] for row in done.rows}["one"] == "good"
    assert [(row["code"], row["text"], row["label"]) for row in done.rejected] == [
        ("label_list", "both", BOTH),
        ("label_list", "none", "[]"),
    ]
    issue = done.issue("label_list")
    assert (issue["severity"], issue["count"], issue["examples"][0]["line"]) == ("error", 2, 602)
    assert "label_separator" in issue["repair"]


@pytest.mark.parametrize("where", ["first", "last"])
def test_where_lists_are_no_exception_all_rows_have_several_labels_and_that_is_told(tmp_path: Path, where: str) -> None:
    lists = [(f"both {n}", BOTH) for n in range(40)]
    rows = [*lists, *PLAIN] if where == "first" else [*PLAIN, *lists]
    done = import_file(tmp_path, as_csv(rows))
    assert done.result.profile["multi_label"] and not done.rejected and len(done.rows) == 640
    issue = done.issue("labels_mixed")
    assert (issue["severity"], issue["count"]) == ("warning", 40)
    assert issue["examples"][0] == {"line": 2 if where == "first" else 602, "value": '["bad","good"]'}


def test_lists_that_only_begin_the_file_are_slips(tmp_path: Path) -> None:
    rows = [*[(f"both {n}", BOTH) for n in range(26)], *PLAIN]
    done = import_file(tmp_path, as_csv(rows))
    assert "multi_label" not in done.result.profile
    assert [row["code"] for row in done.rejected] == ["label_list"] * 26


def test_one_image_with_a_list_of_labels_is_refused(tmp_path: Path) -> None:
    listed = "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(39)) + '39.png,"[""a"", ""b""]"\n'
    done = import_file(
        tmp_path,
        as_zip({**IMAGES, "labels.csv": b"file_name,label\n" + listed.encode()}),
        filename="a.zip",
        kind="image",
    )
    assert [row["code"] for row in done.rejected] == ["label_list"]
    assert done.result.classes == {"a": 20, "b": 19}


def test_label_studios_several_choices_are_several_labels(tmp_path: Path) -> None:
    tasks = [task(text, labels) for text, labels in TEXTS if labels]
    done = import_file(tmp_path, json.dumps(tasks), filename="project.json")
    assert of(done) == {text: labels for text, labels in TEXTS if labels}


def test_a_table_has_one_label_per_row(tmp_path: Path) -> None:
    given = [(str(n), "x", json.dumps(["a", "b"]) if n == 3 else "ab"[n % 2]) for n in range(40)]
    done = import_file(tmp_path, as_csv(given, header=("age", "city", "label")), kind="tabular")
    assert [row["code"] for row in done.rejected] == ["label_list"]
    assert done.result.classes == {"a": 20, "b": 19}


IMAGES = {f"{n}.png": picture(n) for n in range(40)}
OF_IMAGES = {f"{n}.png": SETS[n % 5] for n in range(40)}


def coco() -> bytes:
    numbers = {"comedy": 3, "drama": 1, "war": 2}
    found = {
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(40)],
        "annotations": [
            {"image_id": n, "category_id": numbers[label]} for n in range(40) for label in SETS[n % 5] for _ in range(2)
        ],
    }
    return json.dumps(found).encode()


@pytest.mark.parametrize("name", ["coco.json", "metadata.jsonl", "list.csv", "parquet"])
def test_images_have_the_labels_that_a_list_gives_them(tmp_path: Path, name: str) -> None:
    mapping = {}
    wanted = OF_IMAGES
    if name == "parquet":
        table = pa.table({"image": [{"bytes": content, "path": one} for one, content in IMAGES.items()]})
        out = io.BytesIO()
        pq.write_table(table.append_column("labels", pa.array(list(OF_IMAGES.values()), pa.list_(pa.string()))), out)
        content, wanted = out.getvalue(), {f"{n + 1:08}-{n}.png": SETS[n % 5] for n in range(40)}
    else:
        listed = {
            "coco.json": coco(),
            "metadata.jsonl": "\n".join(
                json.dumps({"file_name": one, "labels": labels}) for one, labels in OF_IMAGES.items()
            ).encode(),
            "list.csv": as_csv(
                [(one, "; ".join(labels) or "[]") for one, labels in OF_IMAGES.items()], header=("file", "tags")
            ).encode(),
        }
        mapping = {"label_separator": ";"} if name == "list.csv" else {}
        content = as_zip({**IMAGES, name: listed[name]})
    done = import_file(tmp_path, content, kind="image", filename=name, mapping=mapping)
    assert of(done, "name") == wanted
    assert done.result.classes == {"comedy": 24, "drama": 24, "war": 8}


@pytest.mark.parametrize("options", [{}, {"empty_label": "none"}])
def test_images_with_an_empty_cell_have_no_label_where_that_is_said(tmp_path: Path, options: dict[str, str]) -> None:
    listed = as_csv([(one, ";".join(labels)) for one, labels in OF_IMAGES.items()], header=("file", "tags"))
    content = as_zip({**IMAGES, "list.csv": listed.encode()})
    done = import_file(tmp_path, content, kind="image", mapping={"label_separator": ";", **options})
    assert of(done, "name") == {one: labels for one, labels in OF_IMAGES.items() if labels or options}
    assert len(done.rejected) == (0 if options else 8)


def test_an_exported_version_imports_again_to_the_same(tmp_path: Path) -> None:
    for kind, source, write in (
        ("text", FILES["json.csv"], csv_of),
        ("image", as_zip({**IMAGES, "coco.json": coco()}), zip_of),
    ):
        done = import_file(tmp_path, source, kind=kind)
        content = b"".join(write(done.folder.output / "data.parquet"))  # type: ignore[operator]
        back = import_file(tmp_path, content, kind=kind, filename="again")
        assert (back.rows, back.result.content_hash) == (done.rows, done.result.content_hash)


def edited(folder: Path, done: Outcome, changes: list[dict[str, Any]], repair: str = "") -> Outcome:
    mapping = done.result.mapping
    ingest = IngestSpec(kind="text", filename="x", corrections=not repair, repair=repair, mapping=mapping)
    spec = JobSpec(job="j", attempt=1, team="t", kind="ingest", inputs=[], output_prefix="p", ingest=ingest)
    job_dir = JobDir.create(folder / f"edit{len(list(folder.iterdir()))}", spec)
    (job_dir.inputs / "source").write_bytes((done.folder.output / "data.parquet").read_bytes())
    (job_dir.inputs / "changes.json").write_text(json.dumps({"changes": changes}))
    return outcome(job_dir, run(job_dir))


def test_corrections_set_all_labels_of_a_row(tmp_path: Path) -> None:
    done = import_file(tmp_path, FILES["json.csv"])
    after = edited(
        tmp_path,
        done,
        [{"row": 0, "labels": ["war", "new", "war"]}, {"row": 2, "labels": []}, {"row": 1, "label": "x"}],
    )
    assert [row["labels"] for row in after.rows[:4]] == [["new", "war"], ["x"], [], ["comedy"]]
    assert after.result.classes == {"comedy": 35, "drama": 34, "new": 1, "war": 13, "x": 1}
    assert after.result.profile["multi_label"] is True
    single = import_file(tmp_path, as_csv([(text, "ab"[len(labels) % 2]) for text, labels in TEXTS]))
    with pytest.raises(JobError) as caught:
        edited(tmp_path, single, [{"row": 0, "labels": ["a", "b"]}])
    assert caught.value.code == "correction_invalid"


def test_a_repair_mends_labels_within_their_sets(tmp_path: Path) -> None:
    rows = [(f"text {n}", json.dumps([["a", "B one"], ["a", "b one"], ["B one"]][n % 3])) for n in range(60)]
    done = import_file(tmp_path, as_csv([*rows, ("rare", '["a", "rare"]')]))
    assert {"class_similar", "class_small"} <= done.codes()
    merged = edited(tmp_path, done, [], repair="merge-labels")
    assert merged.result.classes == {"B one": 60, "a": 41, "rare": 1}
    without = edited(tmp_path, merged, [], repair="drop-small-classes")
    assert without.result.classes == {"B one": 60, "a": 41} and without.result.rows == 61


def test_rows_are_found_by_any_of_their_labels(tmp_path: Path) -> None:
    done = import_file(tmp_path, FILES["json.csv"])
    assert len(found(done, label="war")) == 12
    assert [row["labels"] for row in found(done, label="drama", q="number 11")] == [["drama"]]


def test_each_label_gets_its_share_of_every_split(tmp_path: Path) -> None:
    """Common labels a tenth each, as far as chance allows; rare ones at least a row as far as they reach."""
    source = np.random.default_rng(1)
    given = []
    for n in range(1000):
        labels = [name for name in ("a", "b", "c") if source.random() < 0.4]
        labels += [f"rare {n % 20}"] if n < 60 else []
        given.append((f"text {n}", json.dumps(labels)))
    done = import_file(tmp_path, as_csv(given))
    counts: dict[str, dict[str, int]] = {}
    for row in done.rows:
        for label in row["labels"]:
            counts.setdefault(label, {"train": 0, "validation": 0, "test": 0})[row["split"]] += 1
    for label in "abc":
        assert all(20 <= counts[label][split] <= 65 for split in ("validation", "test")), counts[label]
    assert all(min(counts[f"rare {n}"].values()) >= 1 for n in range(20)), counts


def test_a_dataset_of_one_set_alone_is_refused(tmp_path: Path) -> None:
    assert failure(tmp_path, as_csv([(f"t {n}", '["a", "b"]') for n in range(20)])).code == "one_class_only"
