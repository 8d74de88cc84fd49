"""Which row trains and which tests: stable, without leaks, every class seen where it can be."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingest.importing import as_csv, failure, import_file, reviews
from workers.ingest import splits
from workers.ingest.duplicates import find


def test_identical_texts_never_straddle_even_with_other_spaces_and_labels(tmp_path: Path) -> None:
    rows = [(f"text {n % 50}", "ab"[n % 2]) for n in range(400)] + [(f" text  {n} ", "c") for n in range(50)]
    done = import_file(tmp_path, as_csv(rows))
    texts: dict[str, set[str]] = {}
    for row in done.rows:
        texts.setdefault(" ".join(row["text"].split()), set()).add(row["split"])
    assert all(len(found) == 1 for found in texts.values())


def test_without_a_split_four_fifths_train(tmp_path: Path) -> None:
    shares = import_file(tmp_path, as_csv(reviews(5000))).result.splits
    assert 3850 < shares["train"] < 4150
    assert 420 < shares["validation"] < 580
    assert 420 < shares["test"] < 580


def test_a_split_of_the_file_is_kept_and_validation_carved_out_of_train(tmp_path: Path) -> None:
    rows = [(*row, "Test" if n % 5 == 0 else "training") for n, row in enumerate(reviews(500))]
    done = import_file(tmp_path, as_csv(rows, header=("text", "label", "split")))
    for row, (_, _, split) in zip(done.rows, rows, strict=True):
        assert row["split"] == "test" if split == "Test" else row["split"] in ("train", "validation")
    assert done.result.splits["test"] == 100
    assert 20 < done.result.splits["validation"] < 65
    assert done.result.profile["split"] == {"by": "file", "carved": ["validation"]}


def test_a_complete_split_is_kept_as_it_is(tmp_path: Path) -> None:
    names = ("train", "val", "test")
    rows = [(*row, names[n % 3]) for n, row in enumerate(reviews(90))]
    done = import_file(tmp_path, as_csv(rows, header=("text", "label", "split")))
    assert [row["split"] for row in done.rows] == ["train", "validation", "test"] * 30


def test_a_split_that_is_none_is_rejected(tmp_path: Path) -> None:
    rows = [(*row, "train" if n else "holiday") for n, row in enumerate(reviews(90))]
    done = import_file(tmp_path, as_csv(rows, header=("text", "label", "split")))
    assert [(row["line"], row["code"]) for row in done.rejected] == [("2", "split_invalid")]


def test_a_file_with_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    rows = [(*row, "test") for row in reviews()]
    assert failure(tmp_path, as_csv(rows, header=("text", "label", "split"))).code == "too_few_rows"


def test_small_classes_are_in_every_split_that_their_items_reach(tmp_path: Path) -> None:
    rows = [
        (f"{size} {copy} of {label}", label)
        for label, size in (("one", 1), ("two", 2), ("three", 3), ("ten", 10))
        for copy in range(size)
    ]
    for start in range(12):
        done = import_file(tmp_path, as_csv([*rows, *((f"{start} {text}", label) for text, label in reviews(60))]))
        found = done.split_of("label")
        assert found["one"] == {"train"}
        assert found["two"] == {"train", "test"}
        assert found["three"] == found["ten"] == {"train", "validation", "test"}


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), min_size=1, max_size=200),
    st.integers(0, 5),
    st.sampled_from([None, "train", "train test", "train validation"]),
)
def test_splitting_never_tears_identical_items_apart(rows: list[tuple[int, int]], seed: int, own: str | None) -> None:
    hashes = np.array([item * 0x9E3779B97F4A7C15 % 2**64 for item, _ in rows], np.uint64)
    labels = np.array([label for _, label in rows], np.int64)
    names = own.split() if own else []
    given_split = np.array([splits.CODES[names[n % len(names)]] for n in range(len(rows))], np.int8) if own else None
    conflicting = find(hashes, labels, given_split, 5).conflicts
    members = splits.Members(np.arange(len(labels)), labels)
    codes = splits.by_content(hashes, members, given_split, conflicting, seed)
    assert set(codes.tolist()) <= {0, 1, 2}
    if given_split is None:
        for item in np.unique(hashes):
            assert len(set(codes[hashes == item].tolist())) == 1
    else:
        kept = given_split != splits.TRAIN
        assert (codes[kept] == given_split[kept]).all()


def test_interactions_are_split_per_user_by_time(tmp_path: Path) -> None:
    # Written newest first: the order of the file must not matter.
    rows = [(f"u{user}", f"i{n}", str(1_700_000_000 + n)) for user in range(4) for n in reversed(range(20))]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item", "timestamp")), kind="recommendation")
    items = {split: {row["item"] for row in done.rows if row["split"] == split} for split in done.result.splits}
    assert items["test"] == {"i18", "i19"}
    assert items["validation"] == {"i16", "i17"}
    assert done.result.profile["split"]["by"] == "time"


def test_users_with_three_items_are_tested_and_those_with_two_are_not(tmp_path: Path) -> None:
    rows = [("three", f"i{n}", str(n)) for n in range(3)] + [("two", f"i{n}", str(n)) for n in range(2)]
    rows += [("many", f"i{n}", str(n)) for n in range(40)]
    done = import_file(tmp_path, as_csv(rows, header=("user", "item", "timestamp")), kind="recommendation")
    found = Counter((row["user"], row["split"]) for row in done.rows)
    assert [found["three", split] for split in ("train", "validation", "test")] == [1, 1, 1]
    assert [found["two", split] for split in ("train", "validation", "test")] == [2, 0, 0]
    assert [found["many", split] for split in ("train", "validation", "test")] == [32, 4, 4]


def test_without_time_the_split_depends_on_the_seed_and_not_on_the_order(tmp_path: Path) -> None:
    rows: list[tuple[str, ...]] = [(f"u{user}", f"i{n}") for user in range(6) for n in range(20)]

    def tested(rows: list[tuple[str, ...]], seed: int) -> set[tuple[str, str]]:
        done = import_file(tmp_path, as_csv(rows, header=("user", "item")), kind="recommendation", seed=seed)
        return {(row["user"], row["item"]) for row in done.rows if row["split"] == "test"}

    assert tested(rows, 0) == tested(rows[::-1], 0)
    assert tested(rows, 0) != tested(rows, 1)


@pytest.mark.parametrize("kind", ["text", "recommendation"])
def test_importing_twice_gives_the_same_content_hash(tmp_path: Path, kind: str) -> None:
    rows = [(f"u{n % 7} x", f"i{n % 11}") for n in range(77)]
    source = as_csv(rows, header=("user", "item"))
    mapping = {"text": "user", "label": "item"} if kind == "text" else {}
    first, second = (import_file(tmp_path, source, kind=kind, mapping=mapping).result for _ in range(2))
    assert first.content_hash == second.content_hash
    other = import_file(tmp_path, as_csv(rows[1:], header=("user", "item")), kind=kind, mapping=mapping).result
    assert other.content_hash != first.content_hash
