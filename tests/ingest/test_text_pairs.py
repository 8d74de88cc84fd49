"""Texts in pairs: imported, looked at by the doctor, found, mended, taken out and brought in again."""

from pathlib import Path

import pytest

from tests.ingest.importing import Outcome, as_csv, found, import_file, reviews
from tests.ingest.test_append import append
from tests.ingest.test_export import again
from tests.ingest.test_repairs import repaired
from tests.ingest.test_rows_and_corrections import correct
from workers.contracts.errors import JobError
from workers.ingest.columns import guess
from workers.ingest.repair_preview import preview
from workers.ingest.repairs import by_name
from workers.ingest.version import Version

HEADER = ("premise", "hypothesis", "label")
TOPICS = ("harbour", "mountain", "kitchen", "library", "station", "garden")


def pairs(count: int = 60) -> list[tuple[str, ...]]:
    return [
        (f"number {n} stood in the {TOPICS[n % 6]} at {n * 7919} steps", f"somebody of {n * 31} was there", "yn"[n % 2])
        for n in range(count)
    ]


def imported(tmp_path: Path, rows: list[tuple[str, ...]], **spec: object) -> Outcome:
    return import_file(tmp_path, as_csv(rows, HEADER), **spec)


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        (["id", "sentence1", "sentence2", "label"], {"text": "sentence1", "text_pair": "sentence2", "label": "label"}),
        (["Premise", "Hypothesis", "label"], {"text": "Premise", "text_pair": "Hypothesis", "label": "label"}),
        (["question_1", "question_2", "label"], {"text": "question_1", "text_pair": "question_2", "label": "label"}),
        (["text", "text_pair", "label"], {"text": "text", "text_pair": "text_pair", "label": "label"}),
        # One of the names alone says nothing, and a title beside a body may be anything.
        (["text", "sentence2", "label"], {"text": "text", "label": "label"}),
        (["title", "body", "label"], {"text": "body", "label": "label"}),
    ],
)
def test_only_names_of_pairs_make_pairs(columns: list[str], mapping: dict[str, str]) -> None:
    rows = (["17", "a few words", "more of them", "yes"], ["18", "some words", "others", "no"])
    head = [row[-len(columns) :] for row in rows * 9]
    assert guess("text", columns, head) == mapping


def test_pairs_are_stored_and_come_back_the_same(tmp_path: Path) -> None:
    done = imported(tmp_path, [*pairs(), ("one alone", "", "y"), ("=1+1", "'=2 \U0001f600\r\nlines", "n")])
    assert done.result.mapping == {"text": "premise", "text_pair": "hypothesis", "label": "label"}
    assert [column["name"] for column in done.result.columns] == ["row", "split", "hash", "text", "text_pair", "label"]
    assert (done.rows[3]["text"], done.rows[3]["text_pair"]) == pairs()[3][:2]
    assert [(row["code"], row["premise"]) for row in done.rejected] == [("text_missing", "one alone")]
    back = again(tmp_path, done, "text")
    assert (back.rows, back.result.content_hash) == (done.rows, done.result.content_hash)


def test_no_pair_is_a_choice_and_keeps_the_hashes_of_single_texts(tmp_path: Path) -> None:
    single = import_file(tmp_path, as_csv([row[::2] for row in pairs()], ("premise", "label")))
    declined = imported(tmp_path, pairs(), mapping={"text": "premise", "text_pair": ""})
    assert declined.result.content_hash == single.result.content_hash and "text_pair" not in declined.rows[0]
    both = imported(tmp_path, pairs())
    turned = imported(tmp_path, pairs(), mapping={"text": "hypothesis", "text_pair": "premise"})
    assert len({one.result.content_hash for one in (single, both, turned)}) == 3


def test_equal_means_that_both_texts_are(tmp_path: Path) -> None:
    first = pairs()[0]
    rows = [*pairs(), (first[0], "another second text", "y"), (first[0], f" {first[1]} ", first[2])]
    done = imported(tmp_path, rows)
    assert done.findings["duplicate_rows"] == [61]
    near = [*pairs(), (pairs()[5][0], pairs()[5][1] + "!", "n"), (pairs()[6][0], "quite another ending of it all", "y")]
    assert imported(tmp_path, near).findings["near_duplicate"] == [60]


def test_the_doctor_looks_at_both_and_counts_a_row_once(tmp_path: Path) -> None:
    rows = pairs()
    rows[4] = ("write to a@example.org", "or to b@example.org", "y")
    rows[9] = (rows[9][0], "<b>bold</b> c@example.org", "n")
    rows[11] = (rows[11][0], "x", "n")
    done = imported(tmp_path, rows)
    issue = done.issue("text_personal")
    assert (issue["count"], done.findings["text_personal"]) == (2, [4, 9])
    assert {example["column"] for example in issue["examples"]} == {"premise", "hypothesis"}
    assert done.findings["text_markup"] == [9] and done.findings["text_short"] == [11]


def test_the_second_text_is_searched(tmp_path: Path) -> None:
    done = imported(tmp_path, pairs())
    assert [row["row"] for row in found(done, q="OF 93 WAS")] == [3]


def test_repairs_corrections_and_more_rows_keep_pairs(tmp_path: Path) -> None:
    rows = [*pairs(), ("write to a@example.org", "or to b@example.org", "y"), (pairs(61)[60][0], "c@example.org", "n")]
    first = imported(tmp_path, rows)
    second = repaired(tmp_path, first, "mask-personal")
    assert [(row["text"], row["text_pair"]) for row in second.rows[60:]] == [
        ("write to [email]", "or to [email]"),
        (rows[61][0], "[email]"),
    ]
    assert second.result.profile["edit"]["changed"] == 2 and "text_personal" not in second.codes()
    changes = [{"row": 3, "text_pair": "something else"}, {"row": 4, "drop": True}]
    third = correct(tmp_path, second, {"changes": changes})
    assert third.rows[3]["text_pair"] == "something else" and third.rows[3]["text"] == rows[3][0]
    assert third.rows[:3] == second.rows[:3] and third.result.rows == 61
    more = append(tmp_path, first, as_csv([("a new one", "of two texts", "y")], HEADER))
    assert [row["text_pair"] for row in more.rows] == [row[1] for row in rows] + ["of two texts"]
    with pytest.raises(JobError, match="pairs of texts"):
        correct(tmp_path, import_file(tmp_path, as_csv(reviews())), {"changes": [{"row": 3, "text_pair": "b"}]})


def test_a_repair_shows_both_texts_before_and_after(tmp_path: Path) -> None:
    rows = [*pairs(), (pairs(61)[60][0], "c@example.org", "n")]
    first = imported(tmp_path, rows)
    output = first.folder.output
    with Version(output / "data.parquet", output / "findings.parquet") as version:
        seen = preview(version, by_name("mask-personal"))
    assert seen.changed == 1
    assert [(one["before"]["text_pair"], one["after"]["text_pair"]) for one in seen.examples] == [
        ("c@example.org", "[email]")
    ]
