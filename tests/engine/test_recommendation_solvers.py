"""Solvers against answers that are known another way."""

import itertools

import numpy as np
import pytest
import scipy.sparse
import torch

from workers.engine.recommenders import als as als_module
from workers.engine.recommenders import ease as ease_module
from workers.engine.recommenders.als import als, fold_in, initial_items, objective, solve_rows
from workers.engine.recommenders.ease import ease, gram
from workers.engine.recommenders.graph import write_onnx
from workers.engine.recommenders.linear import Component, LinearRecommender, kept_largest, merged, of_neighbours
from workers.engine.recommenders.neighbours import COSINE, Nearness, neighbours
from workers.engine.recommenders.sequence import past_and_future, sequence
from workers.inference.core import open_session

CPU = torch.device("cpu")


def random_histories(users: int = 60, items: int = 25, seed: int = 0) -> scipy.sparse.csr_array:
    """Weighted histories of very different lengths, some empty."""
    source = np.random.default_rng(seed)
    met = source.random((users, items)) < source.random((users, 1)) ** 2 * 0.6
    met[:3] = False
    return scipy.sparse.csr_array((met * source.uniform(0.5, 3, met.shape)).astype(np.float32))


def two_blocks() -> scipy.sparse.csr_array:
    """Ten users who meet items of 0…4 and ten who meet items of 5…9, each all but one."""
    dense = np.zeros((20, 10), np.float32)
    dense[:10, :5] = 1 - np.tile(np.eye(5), (2, 1))
    dense[10:, 5:] = 1 - np.tile(np.eye(5), (2, 1))
    return scipy.sparse.csr_array(dense)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_ease_is_the_solution_of_its_least_squares_problem_column_by_column(dropout: float) -> None:
    histories = random_histories()
    dense = histories.toarray().astype(np.float64)
    items = dense.shape[1]
    penalty = 5.0 + dropout / (1 - dropout) * (dense**2).sum(axis=0)
    weights = ease(gram(histories), 5.0, dropout, CPU)
    for column in range(items):
        # The column's own item may not explain itself: leave it out and solve ridge regression for the others.
        others = np.delete(np.arange(items), column)
        system = dense[:, others].T @ dense[:, others] + np.diag(penalty[others])
        expected = np.linalg.solve(system, dense[:, others].T @ dense[:, column])
        assert weights[others, column] == pytest.approx(expected, abs=1e-5)
        assert weights[column, column] == 0


def test_ease_gives_the_same_in_blocks_and_in_either_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    given = gram(random_histories())
    expected = ease(given, 5.0, 0.5, CPU)
    monkeypatch.setattr(ease_module, "_BLOCK", 4)
    assert np.array_equal(ease(given, 5.0, 0.5, CPU), expected)
    monkeypatch.setattr(ease_module, "_FLOAT32_FROM", 1.0)
    assert ease(given, 5.0, 0.5, CPU) == pytest.approx(expected, abs=1e-6)


def test_ease_leaves_the_gram_matrix_as_it_was() -> None:
    before = gram(random_histories())
    given = before.copy()
    ease(given, 5.0, 0.5, CPU)
    assert np.array_equal(given, before)


def test_ease_recommends_the_missing_item_of_a_block_and_nothing_across() -> None:
    histories = two_blocks()
    weights = ease(gram(histories), 1.0, 0.0, CPU)
    scores = histories.toarray() @ weights
    scores[histories.toarray() > 0] = -np.inf
    for user in range(20):
        assert scores[user].argmax() == user % 5 + 5 * (user // 10)
    assert np.abs(weights[:5, 5:]).max() < 1e-6


def test_the_largest_entries_of_each_row_are_kept() -> None:
    square = Component(torch.tensor([[0.1, -0.5, 0.3, 0.0], [1, 2, 3, 4], [0, 1, 1, 0], [4, 0, 0, 0]]))
    kept = kept_largest(square, 2).gather
    assert kept[:2].tolist() == [[0, -0.5, pytest.approx(0.3), 0], [0, 0, 3, 4]]
    assert torch.equal(kept_largest(square, 4).gather, square.gather)
    factors = Component(square.gather, square.gather)
    assert kept_largest(factors, 2) is factors


def test_als_solves_each_row_of_the_confidence_weighted_problem() -> None:
    histories = random_histories()
    items = initial_items(25, 6, seed=1) * 5
    found = solve_rows(histories, items, alpha=7.0, ridge=2.0).numpy()
    wide = items.numpy().astype(np.float64)
    for row, weights in enumerate(histories.toarray().astype(np.float64)):
        system = wide.T @ ((1 + 7.0 * weights)[:, None] * wide) + 2.0 * np.eye(6)
        expected = np.linalg.solve(system, wide.T @ ((1 + 7.0 * weights) * (weights > 0)))
        assert found[row] == pytest.approx(expected, abs=1e-4)


def test_als_gives_the_same_in_tiny_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    histories, items = random_histories(), initial_items(25, 6, seed=1) * 5
    whole = solve_rows(histories, items, alpha=7.0, ridge=2.0)
    loss = objective(histories, whole, items, alpha=7.0, ridge=2.0)
    monkeypatch.setattr(als_module, "_BUDGET", 40)
    assert torch.allclose(solve_rows(histories, items, alpha=7.0, ridge=2.0), whole, atol=1e-5)
    assert objective(histories, whole, items, alpha=7.0, ridge=2.0) == pytest.approx(loss, rel=1e-6)


def test_conjugate_gradients_come_close_to_the_exact_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    histories, items = random_histories(300, 40), initial_items(40, 6, seed=1) * 5
    exact = solve_rows(histories, items, alpha=7.0, ridge=2.0)
    monkeypatch.setattr(als_module, "_EXACT_UP_TO", 0)
    near = solve_rows(histories, items, alpha=7.0, ridge=2.0)
    assert float((near - exact).norm() / exact.norm()) < 0.01
    monkeypatch.setattr(als_module, "_CACHED", 60)
    assert torch.allclose(solve_rows(histories, items, alpha=7.0, ridge=2.0), near, atol=1e-5)


def test_the_objective_is_the_sum_over_all_pairs() -> None:
    histories = random_histories()
    users, items = initial_items(60, 6, seed=2) * 5, initial_items(25, 6, seed=3) * 5
    weights = histories.toarray().astype(np.float64)
    guess = users.double().numpy() @ items.double().numpy().T
    squares = (1 + 7.0 * weights) * ((weights > 0) - guess) ** 2
    norm = 2.0 * float((users.double() ** 2).sum() + (items.double() ** 2).sum())
    expected = (squares.sum() + norm) / histories.nnz
    assert objective(histories, users, items, alpha=7.0, ridge=2.0) == pytest.approx(expected, rel=1e-5)


def test_als_lowers_its_objective_at_every_iteration() -> None:
    losses: list[float] = []
    als(
        random_histories(200, 40),
        initial_items(40, 8, seed=0),
        alpha=10.0,
        ridge=1.0,
        iterations=range(8),
        after=lambda iteration, items, loss: losses.append(loss),
    )
    assert len(losses) == 8
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))


def test_als_with_its_linear_fold_in_finds_the_blocks() -> None:
    histories = two_blocks()
    items = als(histories, initial_items(10, 2, seed=0), alpha=10.0, ridge=0.1, iterations=range(15))
    scores = LinearRecommender([Component(fold_in(items, 0.01), items)]).scores(histories)
    scores[histories.toarray() > 0] = -np.inf
    for user in range(20):
        assert scores[user].argmax() == user % 5 + 5 * (user // 10)


def test_neighbours_are_the_largest_cosines() -> None:
    histories = random_histories()
    dense = histories.toarray().astype(np.float64)
    dense = dense / np.maximum(np.linalg.norm(dense, axis=0), 1e-12)
    expected = dense.T @ dense
    np.fill_diagonal(expected, 0)
    whole = neighbours(histories, COSINE._replace(keep=25)).toarray()
    assert whole == pytest.approx(expected, abs=1e-5)
    few = neighbours(histories, COSINE._replace(keep=4)).toarray()
    for row, found in zip(expected, few, strict=True):
        nearest = np.sort(np.argsort(-row)[:4])
        assert np.array_equal(np.flatnonzero(found), nearest[row[nearest] > 0])


def test_users_who_meet_everything_say_less_about_neighbours() -> None:
    dense = np.zeros((6, 8), np.float32)
    dense[:2, :2] = 1
    dense[2:, :] = 1
    dense[2:4, 2] = 0
    histories = scipy.sparse.csr_array(dense)
    alike = neighbours(histories, COSINE._replace(keep=8)).toarray()
    wary = neighbours(histories, COSINE._replace(keep=8, user_power=1.0)).toarray()
    assert wary[0, 1] == pytest.approx(1) == alike[0, 1]
    assert wary[0, 5] < alike[0, 5]


def test_neighbours_are_the_same_in_tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    near = Nearness(user_power=0.5, source_power=0.5, target_power=0.3, keep=5)
    whole = neighbours(random_histories(), near)
    monkeypatch.setattr("workers.engine.recommenders.neighbours._BUDGET", 60)
    assert np.array_equal(neighbours(random_histories(), near).toarray(), whole.toarray())


def ordered(rows: list[list[int]], items: int) -> scipy.sparse.csr_array:
    """Histories whose items stand in the given order."""
    starts = np.cumsum([0, *map(len, rows)])
    columns = np.array([item for row in rows for item in row], np.int32)
    return scipy.sparse.csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(len(rows), items))


def test_pasts_and_futures_are_those_of_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[3, 1, 4, 0], [2], [1, 2, 0]]
    gram_expected, cross_expected = np.zeros((5, 5)), np.zeros((5, 5))
    for row in rows:
        for place in range(len(row)):
            past, future = np.zeros(5), np.zeros(5)
            for before in range(place):
                past[row[before]] = 0.5 ** (place - 1 - before)
            for after in range(place, len(row)):
                future[row[after]] = 0.5 ** (after - place)
            gram_expected += np.outer(past, past)
            cross_expected += np.outer(past, future)
    for places in (1, 4, 100):
        monkeypatch.setattr("workers.engine.recommenders.sequence._PLACES", places)
        found, cross = past_and_future(ordered(rows, 5), 0.5)
        assert found == pytest.approx(gram_expected)
        assert cross == pytest.approx(cross_expected)


def test_a_sequence_is_continued_in_its_direction() -> None:
    source = np.random.default_rng(0)
    rows = [[(start + step) % 12 for step in range(6)] for start in source.integers(0, 12, 200)]
    weights = sequence(*past_and_future(ordered(rows, 12), 0.5), ridge=1.0)
    model = LinearRecommender([Component(torch.from_numpy(weights), decay=0.5)])
    assert model.scores(ordered([[3, 4, 5]], 12))[0].argmax() == 6
    # The order counts: backwards, three is the latest.
    backwards = model.scores(ordered([[5, 4, 3]], 12))[0]
    backwards[[3, 4, 5]] = -np.inf
    assert backwards[6] < model.scores(ordered([[3, 4, 5]], 12))[0][6]


def several_components() -> dict[str, list[Component]]:
    """Each kind alone, with a decay, and all together."""
    source = np.random.default_rng(0)
    square, left, right = (torch.from_numpy(source.normal(size=(25, width)).astype(np.float32)) for width in (25, 4, 4))
    near = of_neighbours(neighbours(random_histories(seed=1), COSINE._replace(keep=6)), CPU, decay=0.9)
    kinds = {
        "square": [Component(square)],
        "factors": [Component(left, right)],
        "neighbours": [near],
        "decay": [Component(square, decay=0.5)],
    }
    return {**kinds, "all": [component for parts in kinds.values() for component in parts]}


@pytest.mark.parametrize("kind", ["square", "factors", "neighbours", "decay", "all"])
def test_the_served_form_is_the_weighted_sum_in_pytorch_and_in_onnx(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    histories = random_histories()
    model = LinearRecommender(several_components()[kind])
    lengths = np.diff(histories.indptr)
    later = np.repeat(histories.indptr[1:], lengths) - 1 - np.arange(histories.nnz)
    expected = np.zeros((60, 25))
    for component in model.components:
        aged = histories.copy()
        aged.data = aged.data * component.decay**later
        expected += aged.toarray() @ component.square().numpy().astype(np.float64)
    assert model.scores(histories) == pytest.approx(expected, abs=1e-3)

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(model, path)
    longest = int(lengths.max())
    history, weights = np.full((60, longest), 25, np.int64), np.zeros((60, longest), np.float32)
    for row in range(60):
        span = slice(histories.indptr[row], histories.indptr[row + 1])
        length = span.stop - span.start
        history[row, :length], weights[row, :length] = histories.indices[span], histories.data[span]
    session = open_session(path, ["CPUExecutionProvider"], 1)
    (served,) = session.run(["scores"], {"history": history, "weights": weights})
    assert served == pytest.approx(model.scores(histories), abs=1e-4)


def test_what_has_no_weight_has_no_place_in_the_order() -> None:
    model = LinearRecommender(several_components()["decay"])
    with_zero = scipy.sparse.csr_array(
        (np.array([1, 0, 1], np.float32), np.array([3, 8, 5], np.int32), np.array([0, 3])), shape=(1, 25)
    )
    assert np.array_equal(model.scores(with_zero), model.scores(ordered([[3, 5]], 25)))


def test_merging_changes_the_form_and_not_the_scores() -> None:
    parts = several_components()["all"]
    fewer = merged(parts)
    assert [component.decay for component in fewer] == [1.0, 0.9, 0.5]
    histories = random_histories()
    assert LinearRecommender(fewer).scores(histories) == pytest.approx(
        LinearRecommender(parts).scores(histories), abs=0.05
    )
