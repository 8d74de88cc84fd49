"""The rows of an earlier version, and after them those of a file."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.ingest.importing import Outcome, as_zip, import_file, job, outcome, picture, pictures
from workers.contracts.errors import JobError
from workers.ingest.run import run

TEXTS = "review,stars\n" + "".join(f"words about number {n},{'good' if n % 2 else 'bad'}\n" for n in range(200))


def append(tmp_path: Path, first: Outcome, file: str | bytes, kind: str = "text", **spec: Any) -> Outcome:
    content = file.encode() if isinstance(file, str) else file
    again = job(tmp_path, content, kind, "more.csv", append=True, mapping=first.result.mapping, **spec)
    (again.inputs / "parent").symlink_to(first.folder.output / "data.parquet")
    if kind == "image":
        (again.inputs / "looks.parquet").symlink_to(first.folder.output / "looks.parquet")
    return outcome(again, run(again))


def kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "row"} for row in rows]


def test_earlier_rows_stay_as_they_are_and_new_ones_follow(tmp_path: Path) -> None:
    first = import_file(tmp_path, TEXTS)
    more = "stars,review,extra\n" + "".join(f"{'good' if n % 3 else 'new'},other words {n},x\n" for n in range(200))
    done = append(tmp_path, first, more + "good,,x\n,unlabelled,x\n")
    assert kept(done.rows[:200]) == kept(first.rows)
    new = done.rows[200:]
    assert len(new) == 200 and done.result.classes == {"bad": 100, "good": 233, "new": 67}
    assert 10 <= sum(row["split"] == "test" for row in new) <= 35
    assert {row["split"] for row in new if row["label"] == "new"} == {"train", "validation", "test"}
    assert [(row["line"], row["code"]) for row in done.rejected] == [("202", "text_missing"), ("203", "label_missing")]
    assert set(done.rejected[0].values()) >= {"good", ""} and done.result.mapping == first.result.mapping
    assert done.result.profile["append"] == {"earlier": 200}


def test_equal_items_never_straddle(tmp_path: Path) -> None:
    first = import_file(tmp_path, TEXTS)
    done = append(tmp_path, first, TEXTS)
    assert done.result.rows == 400
    assert all(len(splits) == 1 for splits in done.split_of("text").values())
    assert done.issue("duplicate_rows")["count"] == 200 and "duplicate_across_splits" not in done.codes()


def test_a_few_rows_of_one_class_are_enough(tmp_path: Path) -> None:
    done = append(tmp_path, import_file(tmp_path, TEXTS), "review,stars\none more,good\n")
    assert done.result.rows == 201


def test_a_dataset_with_its_own_splits_takes_those_of_the_file(tmp_path: Path) -> None:
    lines = [f"words {n},{'ab'[n % 2]},{'test' if n % 5 == 0 else 'train'}\n" for n in range(100)]
    first = import_file(tmp_path, "text,label,split\n" + "".join(lines))
    done = append(tmp_path, first, "text,label,split\nfresh,a,test\nfresher,b,dev\nodd,b,some\n")
    assert [row["split"] for row in done.rows[100:]] == ["test", "validation"]
    assert [row["code"] for row in done.rejected] == ["split_invalid"]
    bare = append(tmp_path, first, "text,label\nfresh,a\n")
    assert kept(bare.rows[:100]) == kept(first.rows) and bare.result.rows == 101


@pytest.mark.parametrize("header", ["text,stars", "review,label", "a,b"])
def test_a_file_of_other_columns_is_refused(tmp_path: Path, header: str) -> None:
    first = import_file(tmp_path, TEXTS)
    with pytest.raises(JobError) as caught:
        append(tmp_path, first, f"{header}\nx,good\n")
    assert caught.value.code == "columns_differ" and "review" in caught.value.evidence


def test_a_table_has_exactly_its_columns(tmp_path: Path) -> None:
    head, rows = "age,city,label\n", [f"{20 + n % 9},{'Rome' if n % 3 else 'Oslo'},{'ab'[n % 2]}\n" for n in range(60)]
    first = import_file(tmp_path, head + "".join(rows), "tabular")
    done = append(tmp_path, first, "label,city,age\nb,Bern,\n", "tabular")
    assert kept(done.rows[:60]) == kept(first.rows)
    assert done.rows[60]["values"] == {"age": "", "city": "Bern"} and done.rows[60]["label"] == "b"
    with pytest.raises(JobError, match='"height" is not in the dataset'):
        append(tmp_path, first, "age,city,label,height\n1,Rome,a,2\n", "tabular")


def test_interactions_are_merged_and_keep_their_splits(tmp_path: Path) -> None:
    lines = [f"u{n % 20},i{n % 7}{n % 11},{n % 5},{1_700_000_000 + n}\n" for n in range(200)]
    first = import_file(tmp_path, "user,item,rating,time\n" + "".join(lines), "recommendation")
    known = first.rows[0]
    later = f"{known['user']},{known['item']},4.5,1800000000\n"
    more = "".join(f"fresh,x{n},3,{1_800_000_000 + n}\n" for n in range(10))
    done = append(tmp_path, first, f"user,item,rating,time\n{later}{more}", "recommendation")
    assert done.result.rows == first.result.rows + 10
    now = {(row["user"], row["item"]): row for row in done.rows}
    assert now[known["user"], known["item"]]["rating"] == 4.5
    assert {pair: now[pair]["split"] for pair in now if pair[0] != "fresh"} == {
        (row["user"], row["item"]): row["split"] for row in first.rows
    }
    assert [now["fresh", f"x{n}"]["split"] for n in range(10)] == ["train"] * 8 + ["validation", "test"]


def test_a_parents_file_without_a_header_is_continued_without_one(tmp_path: Path) -> None:
    bare = TEXTS.partition("\n")[2]
    first = import_file(tmp_path, bare)
    assert first.result.mapping == {"text": "column_1", "label": "column_2"}
    assert append(tmp_path, first, "only one more row,good\nand another,bad\n", header=False).result.rows == 202


def test_images_are_added_by_folders_or_lists_without_mixing_up_names(tmp_path: Path) -> None:
    first = import_file(tmp_path, as_zip(pictures()), "image", "photos.zip")
    names = [row["name"] for row in first.rows]
    label = first.rows[0]["label"]
    other = next(row["label"] for row in first.rows if row["label"] != label)
    # The same paths as before, with other images and the other label; one equal image; one that is none.
    fresh = {f"{other}/{names[0].rpartition('/')[2]}": picture(70_001), f"{other}/new.png": picture(70_002)}
    more = {
        **fresh,
        f"{label}/again.png": pictures()[names[0]],
        f"{label}/broken.png": b"no image",
        "loose.png": picture(70_003),
    }
    done = append(tmp_path, first, as_zip(more), "image")
    assert kept(done.rows[: len(first.rows)]) == kept(first.rows)
    added = {row["name"]: row for row in done.rows[len(first.rows) :]}
    assert {name: row["label"] for name, row in added.items()} == {
        **{f"added-1/{name}": other for name in fresh},
        f"added-1/{label}/again.png": label,
    }
    assert added[f"added-1/{label}/again.png"]["split"] == first.rows[0]["split"], "equal images share a split"
    assert {row["code"] for row in done.rejected} == {"image_format", "entry_no_class"}
    listed = {"metadata.csv": f"file_name,label\nx/a.png,{label}\nb.png,{other}\n".encode()}
    listed |= {"x/a.png": picture(70_004), "b.png": picture(70_005)}
    again = append(tmp_path, done, as_zip(listed), "image")
    assert [(row["name"], row["label"]) for row in again.rows[-2:]] == [
        ("added-2/x/a.png", label),
        ("added-2/b.png", other),
    ]


def test_only_added_images_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = import_file(tmp_path, as_zip(pictures()), "image", "photos.zip")
    label, opened, opening = first.rows[0]["label"], [], Image.open
    monkeypatch.setattr(Image, "open", lambda *given, **options: opened.append(given) or opening(*given, **options))
    done = append(tmp_path, first, as_zip({f"{label}/{n}.png": picture(70_000 + n) for n in range(3)}), "image")
    assert len(opened) == 3 and done.result.rows == len(first.rows) + 3
    assert done.findings["image_blank"] == list(range(done.result.rows))
