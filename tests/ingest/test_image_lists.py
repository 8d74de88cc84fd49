"""Images whose labels stand in a list beside them."""

import io
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.importing import (
    Outcome,
    as_csv,
    as_tar,
    as_zip,
    failure,
    import_file,
    import_files,
    job,
    outcome,
    picture,
    pictures,
)
from workers.ingest.preview import preview_in_child
from workers.ingest.run import run

IMAGES = {f"images/{n}.png": picture(n) for n in range(24)}
LABELS = {f"{n}.png": ("cat", "dog")[n % 2] for n in range(24)}


def of(done: Outcome) -> dict[str, str]:
    return {row["name"].rpartition("/")[2]: row["label"] for row in done.rows}


def listed(header: tuple[str, ...] = ("file_name", "label"), before: str = "") -> bytes:
    return as_csv([(before + name, label) for name, label in LABELS.items()], header=header).encode()


def json_line(named: tuple[str, str]) -> bytes:
    return json.dumps({"file_name": named[0], "label": named[1]}).encode()


@pytest.mark.parametrize(
    "files",
    [
        {"labels.csv": listed(("image", "class"), before="images/")},
        {"labels.csv": listed(("image_id", "breed"))},
        {"images/metadata.csv": listed()},
        {"data/labels.tsv": listed().replace(b",", b"\t")},
        {"labels.csv": listed(("id", "label")).replace(b".png", b"")},
        {
            "images/metadata.jsonl": b"\n".join(
                json.dumps({"file_name": n, "label": v}).encode() for n, v in LABELS.items()
            )
        },
    ],
    ids=["paths", "base names", "beside them", "tabs", "without ending", "json lines"],
)
@pytest.mark.parametrize("archive", [as_zip, as_tar])
def test_a_list_gives_the_labels_wherever_it_stands(tmp_path: Path, files: dict[str, bytes], archive) -> None:  # type: ignore[no-untyped-def]
    done = import_file(tmp_path, archive({**IMAGES, **files}), kind="image")
    assert (of(done), done.result.rejected) == (LABELS, 0)
    assert done.result.profile["lists"] == list(files)


def test_images_that_no_list_names_are_told(tmp_path: Path) -> None:
    files = {**IMAGES, "images/lost.png": picture(999), "labels.csv": listed()}
    done = import_file(tmp_path, as_zip(files), kind="image")
    assert of(done) == LABELS
    assert [(row["code"], row["name"]) for row in done.rejected] == [("entry_no_class", "images/lost.png")]


def test_splits_come_from_a_column_the_lists_names_or_the_folders(tmp_path: Path) -> None:
    splits = ["train"] * 16 + ["validation"] * 4 + ["test"] * 4
    rows = [(name, label, split) for (name, label), split in zip(LABELS.items(), splits, strict=True)]
    column = {**IMAGES, "labels.csv": as_csv(rows, header=("file", "label", "split")).encode()}
    named = dict(IMAGES)
    for split in set(splits):
        named[f"{split}.csv"] = as_csv([row[:2] for row in rows if row[2] == split], header=("file", "label")).encode()
    folders = {f"{split}/{name}": IMAGES[f"images/{name}"] for name, _, split in rows} | {"labels.csv": listed()}
    for files in (column, named, folders):
        done = import_file(tmp_path, as_zip(files), kind="image")
        assert of(done) == LABELS
        assert done.result.splits == {"train": 16, "validation": 4, "test": 4}


def test_coco_gives_images_of_one_category_their_label(tmp_path: Path) -> None:
    numbers = {"cat": 7, "dog": 9}
    annotations = [{"image_id": n, "category_id": numbers[label]} for n, label in enumerate(LABELS.values())]
    annotations += [dict(annotations[0])]
    coco = {
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(25)],
        "annotations": annotations,
    }
    files = {**IMAGES, "images/24.png": picture(24), "annotations/instances.json": json.dumps(coco).encode()}
    done = import_file(tmp_path, as_zip(files), kind="image")
    assert of(done) == LABELS
    assert [row["name"] for row in done.rejected] == ["images/24.png"]


def test_folders_count_where_a_table_is_no_list_of_the_images(tmp_path: Path) -> None:
    table = as_csv([("9999.png", "x"), ("8888.png", "y")], header=("file", "label")).encode()
    for name, content in {"other.csv": table, "sample_submission.csv": listed()}.items():
        done = import_file(tmp_path, as_zip({**pictures(), name: content}), kind="image")
        assert done.result.classes == {"cat": 10, "dog": 10}
        codes = {issue["code"] for issue in done.result.issues} | {row["code"] for row in done.rejected}
        assert codes & {"file_left_out", "image_format"}


def hugging_face(rows: list[tuple[str, bytes, int]]) -> bytes:
    """A Parquet file as Hugging Face's datasets writes images with classes."""
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    image = pa.array([{"bytes": data, "path": name} for name, data, _ in rows])
    table = pa.table({"image": image, "label": pa.array([label for *_, label in rows], pa.int64())})
    out = io.BytesIO()
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), out, row_group_size=7)
    return out.getvalue()


ROWS = [(name.rpartition("/")[2], data, n % 2) for n, (name, data) in enumerate(IMAGES.items())]


def test_images_in_parquet_have_the_names_of_their_classes(tmp_path: Path) -> None:
    unlabelled = [("x.png", picture(500), -1)]
    done = import_file(tmp_path, hugging_face(ROWS + unlabelled), kind="image", filename="train.parquet")
    assert done.result.classes == {"cat": 12, "dog": 12}
    assert [row["code"] for row in done.rejected] == ["entry_no_class"]
    assert {row["name"].partition("-")[2]: row["label"] for row in done.rows} == LABELS
    seen = preview_in_child(done.folder.inputs / "source", "train.parquet")
    assert (seen["kind_guess"], seen["rows"]) == ("image", [])


def test_a_folder_of_parquet_files_keeps_its_splits(tmp_path: Path) -> None:
    parts = {"train-00000-of-00002": ROWS[:8], "train-00001-of-00002": ROWS[8:16]}
    parts |= {"validation-00000-of-00001": ROWS[16:20], "test-00000-of-00001": ROWS[20:]}
    files = {"README.md": b"---\n"} | {f"data/{name}.parquet": hugging_face(rows) for name, rows in parts.items()}
    done = import_file(tmp_path, as_zip(files), kind="image")
    assert done.result.splits == {"train": 16, "validation": 4, "test": 4}


def test_parquet_without_images_or_labels_says_so(tmp_path: Path) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"], "label": ["b"]}), out)
    assert failure(tmp_path, out.getvalue(), kind="image").code == "column_missing"


def test_archives_and_parquet_are_one_dataset_and_their_names_do_not_mix(tmp_path: Path) -> None:
    listed = {"x.png": picture(500), "y.png": picture(501), "metadata.csv": b"file_name,label\nx.png,cat\ny.png,dog\n"}
    files = {
        "photos.zip": as_zip(pictures(prefix="top/")),
        "more/photos.tar": as_tar({name: picture(700 + n) for n, name in enumerate(pictures())}),
        "listed.zip": as_zip(listed | {"stray.png": picture(502)}),
        "rows.parquet": hugging_face(ROWS),
    }
    done = import_files(tmp_path, files)
    assert done.result.classes == {"cat": 33, "dog": 33}
    assert [row["name"] for row in done.rejected] == ["listed/stray.png"]
    folders = Counter(row["name"].partition("/")[0] for row in done.rows)
    assert folders == {"photos": 20, "photos-2": 20, "listed": 2, "rows": 24}


def test_archives_named_after_splits_are_splits(tmp_path: Path) -> None:
    files = {
        f"{split}.zip": as_zip({name: picture(1000 * place + n) for n, name in enumerate(pictures())})
        for place, split in enumerate(("train", "val", "test"))
    }
    assert import_files(tmp_path, files).result.splits == {"train": 20, "validation": 20, "test": 20}


def test_images_of_parquet_are_added_to_those_of_an_archive(tmp_path: Path) -> None:
    first = import_file(tmp_path, as_zip(pictures()), "image", "photos.zip")
    again = job(tmp_path, hugging_face(ROWS), "image", "rows.parquet", append=True)
    (again.inputs / "parent").symlink_to(first.folder.output / "data.parquet")
    done = outcome(again, run(again))
    assert done.rows[:20] == first.rows
    assert [row["name"].partition("/")[0] for row in done.rows[20:]] == ["added-1"] * 24
