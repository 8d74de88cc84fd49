"""Ranking metrics against a slow oracle in plain Python."""

import math

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.recommending import log_of
from workers.engine.ranking import evaluate, flips, popularity
from workers.engine.recommenders.interactions import HeldOut, Histories, histories, hold_out
from workers.engine.recommenders.measures import coverage, gini, intervals, of_lists
from workers.inference.ranked import top_items


def oracle(ranked: list[list[int]], relevant: list[set[int]], unknown: list[int]) -> dict[str, float]:
    """Recall, NDCG, MRR and MAP by their definitions, one user and one place at a time."""
    found: dict[str, float] = {}
    for k in (5, 10, 20):
        recalls, gains, ranks, precisions = [], [], [], []
        for items, wanted, elsewhere in zip(ranked, relevant, unknown, strict=True):
            total = len(wanted) + elsewhere
            hits = [place for place, item in enumerate(items[:k]) if item in wanted]
            recalls.append(len(hits) / total)
            ideal = sum(1 / math.log2(place + 2) for place in range(min(k, total)))
            gains.append(sum(1 / math.log2(place + 2) for place in hits) / ideal)
            ranks.append(1 / (hits[0] + 1) if hits else 0.0)
            precisions.append(sum((count + 1) / (place + 1) for count, place in enumerate(hits)) / min(k, total))
        for name, values in (("recall", recalls), ("ndcg", gains), ("mrr", ranks), ("map", precisions)):
            found[f"{name}@{k}"] = sum(values) / len(values)
    return found


@st.composite
def situations(draw: st.DrawFn) -> tuple[np.ndarray, list[set[int]], list[set[int]], list[int]]:
    """Scores with many ties, what each user has seen, what is held out, and how many held-out items are unknown."""
    users, items = draw(st.integers(1, 6)), draw(st.integers(1, 30))
    scores = draw(
        st.lists(st.lists(st.integers(-3, 3), min_size=items, max_size=items), min_size=users, max_size=users)
    )
    seen, wanted, unknown = [], [], []
    for _ in range(users):
        kinds = draw(st.lists(st.sampled_from(["new", "seen", "wanted"]), min_size=items, max_size=items))
        seen.append({item for item, kind in enumerate(kinds) if kind == "seen"})
        wanted.append({item for item, kind in enumerate(kinds) if kind == "wanted"})
        unknown.append(draw(st.integers(0 if wanted[-1] else 1, 3)))
    return np.array(scores, np.float32), seen, wanted, unknown


@settings(max_examples=150, deadline=None)
@given(situations())
def test_metrics_are_those_of_a_plain_ranking(
    situation: tuple[np.ndarray, list[set[int]], list[set[int]], list[int]],
) -> None:
    scores, seen, wanted, unknown = situation
    users, items = scores.shape

    def matrix(sets: list[set[int]], dtype: type) -> scipy.sparse.csr_array:
        dense: np.ndarray = np.zeros((users, items), dtype)
        for row, chosen in enumerate(sets):
            dense[row, sorted(chosen)] = 1
        return scipy.sparse.csr_array(dense)

    # Popularity falls from item to item, so that a user without a history is ranked by item number.
    known = Histories(np.arange(items), np.arange(items, 0, -1), np.arange(users), matrix(seen, np.float32))
    totals = np.array([len(chosen) + more for chosen, more in zip(wanted, unknown, strict=True)])
    held = HeldOut(np.arange(users), np.arange(users), matrix(wanted, bool), totals, sum(unknown), 0, users)
    found = evaluate(lambda batch: scores.copy(), known, held)

    ranked = []
    for row in range(users):
        by_score = sorted(range(items), key=lambda item: -scores[row, item]) if seen[row] else range(items)
        ranked.append([item for item in by_score if item not in seen[row]])
    assert {name: found.metrics[name] for name in oracle(ranked, wanted, unknown)} == pytest.approx(
        oracle(ranked, wanted, unknown)
    )
    covered = {item for items_of_user in ranked for item in items_of_user[:10]}
    assert found.metrics["coverage@10"] == pytest.approx(len(covered) / items)
    assert found.without_history == sum(not chosen for chosen in seen)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(
            st.lists(st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 2.0]), min_size=width, max_size=width), min_size=1
        )
    ),
    st.integers(1, 8),
)
def test_the_top_items_are_the_beginning_of_a_stable_sort(rows: list[list[float]], k: int) -> None:
    scores = np.array(rows, np.float32)
    columns, values = top_items(scores, k)
    for row, chosen, worth in zip(rows, columns.tolist(), values.tolist(), strict=True):
        expected = sorted(range(len(row)), key=lambda column: -row[column])[:k]
        assert chosen == expected
        assert worth == [row[column] for column in expected]


def test_large_catalogues_are_ranked_in_several_batches() -> None:
    rows = [(f"u{user:04}", f"i{user % 7}", "train") for user in range(2100)]
    rows += [(f"u{user:04}", f"i{(user + 1) % 7}", "test") for user in range(2100)]
    log = log_of(rows)
    known = histories(log, log.split == 0)
    held = hold_out(log, log.split == 2, known)
    done: list[float] = []
    found = evaluate(popularity(known), known, held, done.append)
    assert len(done) == 3 and done[-1] == 1.0
    assert found.metrics["recall@10"] == 1.0


def test_coverage_counts_items_once() -> None:
    assert coverage(np.array([[0, 1, -1], [1, 0, 2]]), 6) == 0.5


def test_a_list_flips_only_where_scores_differ_by_more_than_the_tolerance() -> None:
    scores = np.array([[0.9, 0.90001, 0.5, 0.1]])
    expected = np.array([[1, 0, 2]])
    assert flips([[1, 0, 2]], expected, scores, 1e-4) == 0
    assert flips([[0, 1, 2]], expected, scores, 1e-4) == 0
    assert flips([[0, 1, 2]], expected, scores, 1e-6) == 1
    assert flips([[1, 2, 0]], expected, scores, 1e-4) == 1
    assert flips([[1, 0]], expected, scores, 1e-4) == 1
    assert flips([[1, 1, 2]], expected, scores, 1e-4) == 1
    assert flips([[1, 0]], np.array([[1, 0, -1]]), scores, 1e-4) == 0


def test_uneven_exposure_is_told_by_the_gini_coefficient() -> None:
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.zeros(4, int)) == 0


def test_lists_of_what_everybody_knows_are_neither_novel_nor_unbiased() -> None:
    rows = [(f"u{user}", "hit", "train") for user in range(8)]
    rows += [("u0", "rare", "train"), ("u1", "niche", "train")]
    known = histories(log_of(rows), np.ones(len(rows), bool))
    hit, rare = 0, 2
    users = np.array([0, 1])
    popular = of_lists(np.array([[hit, -1], [hit, -1]]), users, known)
    novel = of_lists(np.array([[rare, -1], [rare, -1]]), users, known)
    assert popular["novelty@10"] == 0 and novel["novelty@10"] == 3
    # Their histories hold one item that all know and one that an eighth does: 0.5625 on average.
    assert popular["popularity_lift@10"] == pytest.approx(1 / 0.5625 - 1)
    assert novel["popularity_lift@10"] == pytest.approx(0.125 / 0.5625 - 1)


def test_intervals_hold_the_mean_and_narrow_with_more_users() -> None:
    source = np.random.default_rng(0)
    widths = []
    for users in (100, 10_000):
        values = source.random(users)
        (found,) = intervals({"recall@20": values}).values()
        assert found.low < values.mean() < found.high
        widths.append(found.high - found.low)
        # The normal approximation of the same interval.
        assert widths[-1] == pytest.approx(2 * 1.96 * values.std() / users**0.5, rel=0.15)
    assert widths[1] < widths[0] / 5
