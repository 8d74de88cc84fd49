"""What a recommender may know, and when."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine.recommending import log_of, write_rows
from workers.engine.recommenders.interactions import TRAIN, VALIDATION, histories, hold_out
from workers.engine.recommenders.reading import read_log


def test_items_are_numbered_by_popularity_and_then_by_id() -> None:
    log = log_of([("a", "z", "train"), ("b", "z", "train"), ("a", "y", "train"), ("b", "x", "train")])
    known = histories(log, log.split == TRAIN)
    assert [log.items[item] for item in known.items] == ["z", "x", "y"]
    assert known.counts.tolist() == [2, 1, 1]
    assert known.shares.tolist() == [1.0, 0.5, 0.5]


def test_rows_outside_the_mask_change_nothing() -> None:
    past = [("a", "x", "train"), ("b", "y", "train"), ("a", "y", "validation")]
    future = [("b", "x", "test"), ("c", "x", "test"), ("c", "new", "test")]
    with_future, without = log_of(past + future), log_of(past)
    one = histories(with_future, with_future.split <= VALIDATION)
    other = histories(without, without.split <= VALIDATION)
    assert [with_future.items[item] for item in one.items] == [without.items[item] for item in other.items]
    assert one.matrix.toarray().tolist() == other.matrix.toarray().tolist()
    assert one.counts.tolist() == other.counts.tolist()


def test_held_out_items_are_neither_seen_nor_lost() -> None:
    log = log_of(
        [
            ("a", "x", "train"),
            ("b", "y", "train"),
            ("a", "x", "test"),
            ("a", "y", "test"),
            ("a", "new", "test"),
            ("stranger", "x", "test"),
            ("b", "y", "test"),
        ]
    )
    known = histories(log, log.split == TRAIN)
    held = hold_out(log, log.split == 2, known)
    assert [log.users[user] for user in held.users] == ["a", "stranger"]
    assert held.totals.tolist() == [2, 1]
    assert held.relevant.sum(axis=1).tolist() == [1, 1]
    assert (held.rows >= 0).tolist() == [True, False]
    assert (held.unknown_items, held.already_seen) == (1, 2)


def test_rare_items_can_be_left_out() -> None:
    log = log_of([("a", "x", "train"), ("b", "x", "train"), ("b", "y", "train"), ("c", "z", "train")])
    known = histories(log, log.split == TRAIN, min_users=2)
    assert [log.items[item] for item in known.items] == ["x"]
    assert [log.users[user] for user in known.users] == ["a", "b"]


def test_a_pair_counts_once_with_its_largest_weight() -> None:
    log = log_of([("a", "x", "train")] * 3, [1.0, 3.0, 2.0])
    known = histories(log, log.split == TRAIN)
    assert known.matrix.toarray().tolist() == [[3.0]]
    assert known.counts.tolist() == [1]


def test_a_weight_of_zero_is_seen_but_not_learned_from() -> None:
    log = log_of([("a", "x", "train"), ("a", "y", "train"), ("b", "y", "train")], [1.0, 0.0, 1.0])
    known = histories(log, log.split == TRAIN)
    assert known.counts.tolist() == [1, 1]
    assert known.matrix.nnz == 3
    assert known.learnable.nnz == 2


def test_without_validation_rows_a_tenth_of_train_is_taken_by_a_seeded_hash(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{item}", "train") for user in range(100) for item in range(50)]
    path = write_rows(tmp_path / "data.parquet", [*rows, ("u1", "i51", "test")])
    log, _ = read_log(path, "auto", None, seed=1)
    taken = (log.split == VALIDATION).sum()
    assert 400 < taken < 600
    assert (log.split == 2).sum() == 1
    again, _ = read_log(path, "auto", None, seed=1)
    other, _ = read_log(path, "auto", None, seed=2)
    assert np.array_equal(log.split, again.split)
    assert not np.array_equal(log.split, other.split)
    # The hash is of user and item, so the order of the rows does not matter.
    turned, _ = read_log(write_rows(tmp_path / "turned.parquet", [("u1", "i51", "test"), *rows[::-1]]), "auto", None, 1)
    assert np.array_equal(turned.split[::-1], log.split)


def test_given_validation_rows_are_kept(tmp_path: Path) -> None:
    rows = [(f"u{user}", f"i{item}", "train") for user in range(20) for item in range(20)]
    log, _ = read_log(write_rows(tmp_path / "data.parquet", [*rows, ("u1", "i99", "validation")]), "auto", None, 0)
    assert (log.split == VALIDATION).sum() == 1


@pytest.mark.parametrize(
    ("ratings", "min_rating", "expected"),
    [
        ("ignore", None, [1, 1, 1, 1, 1]),
        ("auto", None, [0.5, 1.5, 0, 1, 1]),
        ("weight", None, [0.5, 1.5, 0, 1, 1]),
        ("threshold", 2.0, [0, 1, 0, 1, 1]),
        # The mean of the train ratings 1, 3 and -1.
        ("threshold", None, [1, 1, 0, 1, 1]),
    ],
)
def test_ratings_become_weights(ratings: str, min_rating: float | None, expected: list[float], tmp_path: Path) -> None:
    rows = [("a", "v", "train"), ("a", "w", "train"), ("a", "x", "train"), ("a", "y", "train"), ("a", "z", "test")]
    path = write_rows(tmp_path / "data.parquet", [*rows, ("a", "q", "validation")], [1, 3, -1, None, 2, 2])
    log, weighing = read_log(path, ratings, min_rating, 0)  # type: ignore[arg-type]
    assert log.weight[:5].tolist() == pytest.approx(expected)
    assert weighing.explanation


def test_without_a_rating_column_every_row_counts_as_one(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data.parquet", [("a", "x", "train"), ("b", "y", "train")])
    log, weighing = read_log(path, "threshold", 3.0, 0)
    assert log.weight.tolist() == [1, 1]
    assert weighing.mode == "ignore"


def test_a_history_stands_in_the_order_of_time(tmp_path: Path) -> None:
    rows = [("u", item, "train") for item in ("third", "first", "unknown", "second")]
    log, _ = read_log(write_rows(tmp_path / "data.parquet", rows, times=[30, 10, None, 20]), "auto", None, 0)
    known = histories(log, log.split != 2)
    assert known.timed
    items = [log.items[known.items[number]] for number in known.matrix.indices]
    assert items == ["unknown", "first", "second", "third"]


def test_a_sample_keeps_the_catalogue_and_all_who_are_judged() -> None:
    rows = [(f"u{user:03}", f"i{(user + step) % 20}", "train") for user in range(200) for step in range(3)]
    rows += [(f"u{user:03}", f"i{(user + 9) % 20}", "validation") for user in range(3, 200, 20)]
    log = log_of(rows)
    known = histories(log, log.split == TRAIN)
    held = hold_out(log, log.split == VALIDATION, known)
    assert known.sampled(held, 10_000)[0] is known
    some, judged = known.sampled(held, 150)
    assert 50 <= len(some.users) <= 60
    assert np.array_equal(some.items, known.items) and np.array_equal(some.shares, known.shares)
    assert np.array_equal(judged.users, held.users)
    assert np.array_equal(some.users[judged.rows], held.users)
    assert (some.matrix[judged.rows] - known.matrix[held.rows]).nnz == 0
