"""Solvers against answers that are known another way."""

import itertools

import numpy as np
import pytest
import scipy.sparse
import torch

from workers.engine.recommenders import als as als_module
from workers.engine.recommenders import ease as ease_module
from workers.engine.recommenders.als import als, fold_in, initial_items, objective, solve_rows
from workers.engine.recommenders.ease import ease, gram, keep_largest
from workers.engine.recommenders.linear import LinearRecommender, write_onnx
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
    weights = np.array([[0.1, -0.5, 0.3, 0.0], [1, 2, 3, 4]], np.float32)
    kept = keep_largest(weights, 2)
    assert kept.tolist() == [[0, -0.5, pytest.approx(0.3), 0], [0, 0, 3, 4]]
    assert np.array_equal(keep_largest(weights, 4), weights)


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
    scores = LinearRecommender(fold_in(items, 0.01), items).scores(histories)
    scores[histories.toarray() > 0] = -np.inf
    for user in range(20):
        assert scores[user].argmax() == user % 5 + 5 * (user // 10)


@pytest.mark.parametrize("with_factors", [False, True])
def test_the_served_form_is_the_weighted_sum_in_pytorch_and_in_onnx(
    with_factors: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = np.random.default_rng(0)
    histories = random_histories()
    first = torch.from_numpy(source.normal(size=(25, 4 if with_factors else 25)).astype(np.float32))
    second = torch.from_numpy(source.normal(size=(25, 4)).astype(np.float32)) if with_factors else None
    model = LinearRecommender(first, second)
    right = np.eye(25) if second is None else second.half().double().numpy().T
    expected = histories.toarray().astype(np.float64) @ first.half().double().numpy() @ right
    assert model.scores(histories) == pytest.approx(expected, abs=1e-3)

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(model, path)
    longest = int(np.diff(histories.indptr).max())
    history, weights = np.full((60, longest), 25, np.int64), np.zeros((60, longest), np.float32)
    for row in range(60):
        span = slice(histories.indptr[row], histories.indptr[row + 1])
        length = span.stop - span.start
        history[row, :length], weights[row, :length] = histories.indices[span], histories.data[span]
    session = open_session(path, ["CPUExecutionProvider"], 1)
    (served,) = session.run(["scores"], {"history": history, "weights": weights})
    assert served == pytest.approx(model.scores(histories), abs=1e-4)
