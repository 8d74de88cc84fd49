"""Texts that are nearly the same: found in every script, never without being so, told, and kept in one split."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.ingest.importing import as_csv, import_file
from workers.ingest import near_texts
from workers.ingest.shingles import MAX_CHARS, fold, shingles

LONG = "The battery lasts two days, the screen is bright and the camera takes sharp pictures even at night."
CHINESE = "这部手机的电池可以用两天，屏幕很亮，相机在晚上也能拍出清晰的照片，我非常喜欢。"
JAPANESE = "このスマートフォンの電池は二日間もちます。画面が明るくて、夜でもきれいな写真が撮れます。"


def words(count: int, seed: int, length: int = 30) -> list[str]:
    """Texts of random words, no two alike."""
    source = random.Random(seed)
    known = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(2, 9))) for _ in range(3000)]
    return [" ".join(source.choices(known, k=length)) for _ in range(count)]


def groups_of(*texts: str) -> list[int]:
    groups = [pa.table({"text": texts[start : start + 7]}) for start in range(0, len(texts), 7)]
    return near_texts.find(lambda: groups, np.ones(len(texts), np.bool_), lambda share: None).tolist()


@pytest.mark.parametrize(
    ("text", "other"),
    [
        (LONG, LONG.upper()),
        (LONG, LONG.replace("bright", "brighter")),
        (LONG, LONG.replace(" even at night", "")),
        (LONG, "  " + LONG.replace(",", " –").replace(".", "!!!")),
        (LONG, LONG.replace("two", "2")),
        (CHINESE, CHINESE.replace("非常", "很")),
        (CHINESE, CHINESE.replace("，", " ").replace("。", "！")),
        (CHINESE, CHINESE.replace("两天", "三天")),
        (JAPANESE, JAPANESE.replace("二日間", "三日間")),
        ("Good movie", "good movie!!"),
        ("ｇｏｏｄ　ｍｏｖｉｅ", "Good movie"),
        ("好看", "好看！"),
    ],
)
def test_small_changes_make_no_other_text(tmp_path: Path, text: str, other: str) -> None:
    assert groups_of("something else entirely", text, "and another thing", other) == [0, 1, 2, 1]


@pytest.mark.parametrize("texts", [("a", "b"), ("a",), ("好", "坏"), ("", "!"), ("ab", "c", "d")])
def test_a_handful_of_letters_is_compared_too(texts: tuple[str, ...]) -> None:
    assert groups_of(*texts) == list(range(len(texts)))


def test_a_column_of_letters_can_be_taken_for_the_texts(tmp_path: Path) -> None:
    rows = [("ab"[number % 2], f"comment {number}") for number in range(60)]
    assert import_file(tmp_path, as_csv(rows)).result.rows == 60


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("good movie", "good movies"),
        ("review number 17", "review number 18"),
        ("what flights leave from boston to denver on monday", "what flights leave from boston to denver on sunday"),
        (LONG, LONG.replace("two days", "an hour").replace("bright", "too dark").replace("sharp", "blurred")),
        (CHINESE, "这部电影的情节非常精彩，演员的表演也很出色，值得一看，推荐给大家。"),
        ("这部电影很好", "这部电影不好"),
        ("...", "!!!"),
        ("", " "),
    ],
)
def test_other_words_make_another_text(tmp_path: Path, text: str, other: str) -> None:
    assert groups_of(text, other) == [0, 1]


def test_every_planted_pair_is_found_and_no_other(tmp_path: Path) -> None:
    texts = words(400, seed=1)
    copies = [text.replace(text.split()[place % 30], "changed", 1) for place, text in enumerate(texts[:100])]
    found = groups_of(*texts, *copies)
    assert found == [*range(400), *range(100)]


def test_the_similarity_that_decides_is_that_of_the_definition(tmp_path: Path) -> None:
    def by_definition(first: str, second: str) -> float:
        pieces = [
            {folded[at : at + 4] for at in range(len(folded) - 3)}
            for folded in ("".join(filter(str.isalnum, text.lower())) for text in (first, second))
        ]
        return len(pieces[0] & pieces[1]) / len(pieces[0] | pieces[1])

    source = random.Random(3)
    (text,) = words(1, seed=2, length=25)
    for kept in range(25):
        shorter = " ".join(source.sample(text.split(), 25)[:kept]) or "x"
        other = " ".join(text.split()[:kept]) + " " + shorter
        expected = [0, 0] if by_definition(text, other) >= near_texts.SIMILAR else [0, 1]
        assert groups_of(text, other) == expected


def test_pieces_of_two_stand_for_scripts_without_spaces() -> None:
    folded = fold(["Ab, CDE!", "你好，世界", ""])
    text, hashes = shingles(folded)
    assert folded.lengths.tolist() == [5, 4, 0]
    assert text.tolist() == [0, 0, 1, 1, 1]
    assert len(set(hashes.tolist())) == 5


def test_a_thousand_copies_and_very_long_texts_are_no_trouble(tmp_path: Path) -> None:
    (body,) = words(1, seed=4, length=40)
    copies = [f"{body} number {n}" for n in range(1000)]
    long = "".join(words(1, seed=5, length=5000))
    assert len(long) > MAX_CHARS
    found = groups_of(*copies, long, long + " and more", words(1, seed=6)[0])
    assert found == [0] * 1000 + [1000, 1000, 1002]


def a_dataset(count: int = 200) -> list[tuple[str, str]]:
    return [(text, ("good", "bad")[place % 2]) for place, text in enumerate(words(count, seed=7))]


def test_groups_are_told_with_their_rows_and_kept_in_one_split(tmp_path: Path) -> None:
    rows = a_dataset()
    copies = [(f"{text} again", label) for text, label in rows[:60]] + [(rows[0][0], rows[0][1])]
    done = import_file(tmp_path, as_csv([*rows, *copies]))
    assert done.codes() == {"near_duplicate", "duplicate_rows"}
    assert done.findings == {"near_duplicate": [*range(200, 260)], "duplicate_rows": [260]}
    example = done.issue("near_duplicate")["examples"][0]
    assert (example["line"], example["value"]) == (202, f"like line 2: {copies[0][0][:150]}")
    by_group = done.split_of("group")
    assert len(by_group.pop(None)) == 3
    assert len(by_group) == 60 and all(len(splits) == 1 for splits in by_group.values())
    assert done.rows[0]["group"] == done.rows[200]["group"] == done.rows[260]["group"]
    assert {split for splits in by_group.values() for split in splits} == {"train", "validation", "test"}


def test_a_file_without_near_duplicates_has_no_column_of_groups(tmp_path: Path) -> None:
    done = import_file(tmp_path, as_csv(a_dataset()))
    assert done.codes() == set() and "group" not in done.rows[0]


def test_nearly_the_same_with_another_label_is_told_on_all_rows(tmp_path: Path) -> None:
    rows = a_dataset()
    done = import_file(tmp_path, as_csv([*rows, (rows[3][0] + " again", "good"), (rows[4][0] + " again", "good")]))
    assert done.findings["near_duplicate_conflict"] == [3, 200]
    value = done.issue("near_duplicate_conflict")["examples"][0]["value"]
    assert value.startswith("like line 5 (bad), but good: ")


def test_what_is_nearly_in_test_is_told_where_the_file_splits(tmp_path: Path) -> None:
    rows = [(*row, ("train", "validation", "test")[place % 3]) for place, row in enumerate(a_dataset(90))]
    rows += [(f"{rows[0][0]} again", "good", "test"), (f"{rows[2][0]} again", "good", "test")]
    done = import_file(tmp_path, as_csv(rows, header=("text", "label", "split")))
    assert done.findings["near_duplicate"] == [90, 91]
    assert done.findings["near_duplicate_across_splits"] == [0]
    value = done.issue("near_duplicate_across_splits")["examples"][0]["value"]
    assert value.startswith("like line 92 in test, but in train: ")


def test_texts_of_one_template_are_told_and_split_all_the_same(tmp_path: Path) -> None:
    (body,) = words(1, seed=8, length=40)
    done = import_file(tmp_path, as_csv([(f"{body} number {n}", ("good", "bad")[n % 2]) for n in range(300)]))
    assert done.issue("near_duplicate")["count"] == 299
    assert min(done.result.splits.values()) > 10
    assert done.issue("near_duplicate_across_splits")["count"] > 0


def test_a_few_large_groups_leave_no_split_empty(tmp_path: Path) -> None:
    bodies = words(4, seed=9, length=40)
    rows = [(f"{bodies[n % 4]} number {n}", ("good", "bad")[n % 2]) for n in range(40)]
    done = import_file(tmp_path, as_csv(rows))
    assert done.issue("near_duplicate")["count"] == 36
    assert min(done.result.splits.values()) > 0


def test_what_was_not_compared_is_told(tmp_path: Path) -> None:
    rows = a_dataset()
    rows += [(f"{rows[0][0]} again", "good"), (rows[1][0], "bad")]
    done = import_file(tmp_path, as_csv(rows), limits={"max_compared": 200})
    assert done.issue("near_duplicates_partly")["examples"][0]["value"] == "the first 200 of 201 different items"
    assert "near_duplicate" not in done.codes()
    assert import_file(tmp_path, as_csv(rows), limits={"max_compared": 0}).codes() == {"duplicate_rows"}
