"""Each repair against the finding that it cures: gone in the new version, and nothing else touched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.importing import Outcome, as_csv, as_zip, import_file, job, outcome, pictures, reviews
from workers.contracts.errors import JobError
from workers.contracts.manifest import SUSPECTS
from workers.ingest import findings
from workers.ingest.repair_preview import preview
from workers.ingest.repairs import REPAIRS, by_name
from workers.ingest.run import run
from workers.ingest.version import Version


def repaired(
    folder: Path, parent: Outcome, repair: str, kind: str = "text", suspects: pa.Table | None = None
) -> Outcome:
    output = parent.folder.output
    job_dir = job(folder, output / "data.parquet", kind, repair=repair, mapping=parent.result.mapping)
    if (output / findings.NAME).exists():
        (job_dir.inputs / findings.NAME).symlink_to(output / findings.NAME)
    if suspects:
        pq.write_table(suspects, job_dir.inputs / SUSPECTS)
    return outcome(job_dir, run(job_dir))


def parents(done: Outcome) -> list[int]:
    found: list[int] = pq.read_table(done.folder.output / "lineage.parquet")["row"].to_pylist()
    return found


def texts(tmp_path: Path, *more: tuple[str, ...], header: tuple[str, ...] = ("text", "label")) -> Outcome:
    rows = [row if len(header) == 2 else (*row, "train") for row in reviews(40)]
    return import_file(tmp_path, as_csv([*rows, *more], header=header))


MESSY: dict[str, tuple[str, str]] = {
    "mend-encoding": ("Das schÃ¶ne HÃ¤uschen fÃ¼r â€žunsâ€œ", "Das schöne Häuschen für „uns“"),
    "strip-markup": (
        "<p>Tom &amp; <b>Jer</b>ry</p><p>eat&nbsp;&lt;3</p><script>x()</script> 1 < 2",
        "Tom & Jerry eat <3 1 < 2",
    ),
    "mask-personal": (
        "Write to jo.doe+x@mail.example.org, +49 171 2345678 or pay by 4111 1111 1111 1111.",
        "Write to [email], [phone] or pay by [card].",
    ),
}


@pytest.mark.parametrize("repair", MESSY)
def test_texts_are_mended_and_the_others_stay_as_they_are(tmp_path: Path, repair: str) -> None:
    before, after = MESSY[repair]
    # What looks alike and is right: curly quotes, an ampersand, a plain number.
    fine = ("“Well — naïve” & co.; order 12345, 3 > 2", "good")
    code = next(one.code for one in REPAIRS if one.name == repair)
    first = texts(tmp_path, (before, "bad"), fine)
    assert first.issue(code)["count"] == 1
    second = repaired(tmp_path, first, repair)
    assert code not in second.codes()
    assert second.rows[40]["text"] == after
    assert [row for row in second.rows if row["row"] != 40] == [row for row in first.rows if row["row"] != 40]
    assert second.rows[40]["split"] == first.rows[40]["split"]
    assert second.result.profile["edit"] == {"repair": repair, "dropped": 0, "relabelled": 0, "changed": 1, "moved": 0}
    assert parents(second) == list(range(42))


def test_a_text_that_is_nothing_but_markup_is_rejected_and_told(tmp_path: Path) -> None:
    first = texts(tmp_path, ("<br>", "bad"), ("<i>fine</i>", "good"))
    second = repaired(tmp_path, first, "strip-markup")
    assert [row["code"] for row in second.rejected] == ["text_missing"]
    assert parents(second) == [*range(40), 41]


def test_labels_become_the_most_frequent_spelling(tmp_path: Path) -> None:
    first = texts(tmp_path, ("one", "Good"), ("two", "ｇｏｏｄ"), ("three", "BAD"))
    assert set(first.result.classes) == {"good", "bad", "Good", "ｇｏｏｄ", "BAD"}
    second = repaired(tmp_path, first, "merge-labels")
    assert second.result.classes == {"bad": 21, "good": 22}
    assert "class_similar" not in second.codes()
    assert second.result.profile["edit"]["relabelled"] == 3


def test_repeats_go_and_items_with_two_labels_stay(tmp_path: Path) -> None:
    first = texts(tmp_path, ("review number 0", "good"), ("review  number 0", "good"), ("review number 1", "good"))
    second = repaired(tmp_path, first, "drop-repeats")
    assert parents(second) == [*range(40), 42]
    assert "duplicate_conflict" in second.codes()


CONFLICTS = (("review number 0", "bad"), ("review number 1", "bad"), ("review number 1", "good"))


def test_items_with_two_labels_go(tmp_path: Path) -> None:
    second = repaired(tmp_path, texts(tmp_path, *CONFLICTS), "drop-conflicts")
    assert parents(second) == list(range(2, 40))
    assert "duplicate_conflict" not in second.codes()


def test_the_majority_decides_and_a_tie_decides_nothing(tmp_path: Path) -> None:
    first = texts(tmp_path, *CONFLICTS)
    second = repaired(tmp_path, first, "keep-majority")
    # Of number 0 one row says good and one bad; of number 1 two say bad.
    assert parents(second) == [*range(1, 40), 41, 42]
    assert {row["label"] for row in second.rows if row["text"] == "review number 1"} == {"bad"}
    assert "duplicate_conflict" not in second.codes()


def test_what_is_tested_is_no_longer_learned(tmp_path: Path) -> None:
    more = [(f"review number {n}", ("good", "bad")[n % 2], ("test", "validation")[n % 3 == 0]) for n in range(8)]
    first = texts(tmp_path, *more, header=("text", "label", "split"))
    second = repaired(tmp_path, first, "drop-leaks")
    assert parents(second) == list(range(8, 48))
    assert "duplicate_across_splits" not in second.codes()


def test_small_classes_go(tmp_path: Path) -> None:
    first = texts(tmp_path, *[(f"rare {n}", "rare") for n in range(4)])
    second = repaired(tmp_path, first, "drop-small-classes")
    assert second.result.classes == {"bad": 20, "good": 20}
    assert "class_small" not in second.codes()


def suspected(first: Outcome, *rows: int) -> pa.Table:
    """Every label had better be "bad", and some rows are suspects."""
    count = len(first.rows)
    return pa.table(
        {
            "row": pa.array(range(count), pa.int32()),
            "predicted": pa.array(["bad"] * count).dictionary_encode(),
            "label_probability": pa.array([0.25] * count, pa.float32()),
            "suspicion": pa.array([0.75] * count, pa.float32()),
            "suspect": [row in rows for row in range(count)],
        }
    )


def suspects_of(done: Outcome) -> dict[int, str]:
    """Row → text."""
    table = pq.read_table(done.folder.output / SUSPECTS)
    return {row: done.rows[row]["text"] for row in table.filter(table["suspect"])["row"].to_pylist()}


def test_suggested_labels_are_accepted_where_a_label_is_suspected(tmp_path: Path) -> None:
    first = texts(tmp_path)
    second = repaired(tmp_path, first, "accept-suggestions", suspects=suspected(first, 0, 2))
    assert [row["row"] for row in second.rows if row["label"] != first.rows[row["row"]]["label"]] == [0, 2]
    assert suspects_of(second) == {}


def test_what_nobody_has_decided_stays_suspected(tmp_path: Path) -> None:
    first = texts(tmp_path, ("review number 1", "bad"), ("last one", "good"))
    suspects = suspected(first, 0, 2, 41)
    second = repaired(tmp_path, first, "drop-repeats", suspects=suspects)
    assert suspects_of(second) == {0: "review number 0", 2: "review number 2", 40: "last one"}

    job_dir = job(tmp_path, first.folder.output / "data.parquet", corrections=True, mapping=first.result.mapping)
    changes = [{"row": 0, "label": "good again"}, {"row": 1, "drop": True}]
    (job_dir.inputs / "changes.json").write_text(json.dumps({"changes": changes}))
    pq.write_table(suspects, job_dir.inputs / SUSPECTS)
    third = outcome(job_dir, run(job_dir))
    assert suspects_of(third) == {1: "review number 2", 40: "last one"}


def test_users_and_items_seen_once_go_and_the_rest_keeps_its_values(tmp_path: Path) -> None:
    rows = [(f"u{n % 7}", f"i{n % 11}", str(n / 3), "2001-01-01") for n in range(70)]
    rows += [("lone", "i1", "3", "2001-02-03"), ("u1", "lonely", "3.5", "2001-02-03")]
    header = ("user", "item", "rating", "time")
    first = import_file(tmp_path, as_csv(rows, header=header), kind="recommendation")
    second = repaired(tmp_path, first, "drop-single-users", "recommendation")
    third = repaired(tmp_path, second, "drop-single-items", "recommendation")
    assert not {"user_once", "item_once"} & third.codes()
    left = [row for row in first.rows if row["user"] != "lone" and row["item"] != "lonely"]
    assert [{**row, "row": 0} for row in third.rows] == [{**row, "row": 0} for row in left]


def test_tables_keep_columns_that_are_called_like_roles(tmp_path: Path) -> None:
    rows = [(str(n % 30), "abc"[n % 3], f"s{n % 4}", "ab"[n // 30]) for n in range(60)] + [("0", "a", "s0", "a")]
    source = as_csv(rows, header=("age", "label", "split.x", "class"))
    first = import_file(tmp_path, source, kind="tabular", mapping={"label": "class"})
    second = repaired(tmp_path, first, "drop-repeats", "tabular")
    assert second.rows == first.rows[:60]
    assert second.result.mapping == {"label": "class"}
    types = [[(one["name"], one["type"]) for one in done.result.profile["columns"]] for done in (first, second)]
    assert types[0] == types[1]


def test_images_are_dropped_and_the_others_keep_every_byte(tmp_path: Path) -> None:
    files = pictures(each=12)
    files["cat/again.png"] = files["cat/3.png"]
    first = import_file(tmp_path, as_zip(files), kind="image")
    second = repaired(tmp_path, first, "drop-repeats", "image")
    gone = ({*range(25)} - set(parents(second))).pop()
    assert [{**row, "row": 0} for row in second.rows] == [{**row, "row": 0} for row in first.rows if row["row"] != gone]


def test_a_repair_with_nothing_to_do_says_so(tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        repaired(tmp_path, texts(tmp_path), "mask-personal")
    assert caught.value.code == "edit_empty"


@pytest.mark.parametrize("make", [lambda text: text, lambda text: text * 3], ids=["once", "thrice"])
def test_every_finding_of_a_text_is_gone_after_its_repair(tmp_path: Path, make: Callable[[str], str]) -> None:
    hard: dict[str, list[str]] = {
        "strip-markup": ["&amp;lt;b&amp;gt;x", "<a href='?a=1&copy=2'>y</a> z", "&#65;&#x42;", "a<br/>b"],
        "mask-personal": ["00491712345678 x@y.de", "a@b.cc,d@e.ff", "(555) 123-4567 4111-1111-1111-1111"],
    }
    for repair, found in hard.items():
        first = texts(tmp_path, *[(make(text), "bad") for text in found])
        code: Any = next(one.code for one in REPAIRS if one.name == repair)
        assert first.issue(code)["count"] == len(found)
        assert code not in repaired(tmp_path, first, repair).codes()


def in_sets(tmp_path: Path) -> tuple[Outcome, pa.Table]:
    """Forty reviews with one or two labels; a model says that the first lacks "long", and one has "film" wrongly."""
    rows = [(f"review number {n}", ("good", "bad")[n % 2] + ("|film" if n % 4 else "|Film")) for n in range(40)]
    first = import_file(tmp_path, as_csv(rows, header=("text", "label")), mapping={"label_separator": "|"})
    said = [row["label"] for row in first.rows]
    said[0], said[1] = '["Film","good","long"]', '["bad"]'
    suspects = suspected(first, 0, 1)
    place = suspects.schema.get_field_index("predicted")
    return first, suspects.set_column(place, "predicted", pa.array(said).dictionary_encode())


def test_of_several_labels_only_those_that_are_suspected_change(tmp_path: Path) -> None:
    first, suspects = in_sets(tmp_path)
    second = repaired(tmp_path, first, "accept-suggestions", suspects=suspects)
    changed = {row["row"]: row["labels"] for row in second.rows if row["labels"] != first.rows[row["row"]]["labels"]}
    assert changed == {0: ["Film", "good", "long"], 1: ["bad"]}
    assert suspects_of(second) == {}


def test_what_is_suspected_of_several_labels_is_renamed_with_them(tmp_path: Path) -> None:
    first, suspects = in_sets(tmp_path)
    with Version(first.folder.output / "data.parquet") as version:
        assert preview(version, by_name("merge-labels")).relabelled == 10
    second = repaired(tmp_path, first, "merge-labels", suspects=suspects)
    assert suspects_of(second) == {0: "review number 0", 1: "review number 1"}
    table = pq.read_table(second.folder.output / SUSPECTS)
    assert table["predicted"].to_pylist()[:2] == ['["film","good","long"]', '["bad"]']


@pytest.mark.parametrize("repair", ["drop-repeats", "drop-conflicts"])
def test_different_texts_with_one_hash_are_no_copies(tmp_path: Path, repair: str) -> None:
    copies = [("one and the same", "pos"), ("one  and the same", "neg" if repair == "drop-conflicts" else "pos")]
    done = texts(tmp_path, ("made to collide", "pos"), ("with this one", copies[1][1]), *copies)
    table = pq.read_table(done.folder.output / "data.parquet")
    hashes = table["hash"].to_pylist()
    hashes[-3] = hashes[-4]
    colliding = table.set_column(table.schema.get_field_index("hash"), "hash", pa.array(hashes, pa.uint64()))
    pq.write_table(colliding, done.folder.output / "data.parquet")
    again = repaired(tmp_path, done, repair)
    left = [row["text"] for row in again.rows]
    assert {"made to collide", "with this one"} <= set(left)
    assert again.result.profile["edit"]["dropped"] == (2 if repair == "drop-conflicts" else 1)
