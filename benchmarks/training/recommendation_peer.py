"""implicit's models, in an environment that holds implicit and nothing of Slipway: data.npz → lists.npz.

Of each family, a small grid of settings is fitted on the train rows and judged on the validation rows, by the mean of
recall@20 and ndcg@20; the best is fitted on both and writes the best 20 unseen items of every user. Prints a JSON line
per family: what was chosen, and the seconds of the last fit.
"""

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

DEPTH = 20
LEARNED = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}
NEIGHBOURS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}


def grid() -> dict[str, list[dict[str, Any]]]:
    """Settings to try, by family."""
    als = itertools.product((32, 64, 128), (1.0, 5.0, 20.0), (0.1, 10.0))
    bpr = itertools.product((32, 64, 128), (0.01, 0.05))
    return {
        "als": [{"factors": f, "alpha": a, "regularization": r} for f, a, r in als],
        "bpr": [{"factors": f, "learning_rate": rate} for f, rate in bpr],
        "item-knn": [{"kind": kind, "K": k} for kind in NEIGHBOURS for k in (20, 50, 100, 300)],
    }


def fit(family: str, settings: dict[str, Any], matrix: scipy.sparse.csr_matrix, seed: int) -> Any:
    """A fitted model."""
    if family in LEARNED:
        model = LEARNED[family](random_state=seed, **settings)
    else:
        model = NEIGHBOURS[settings["kind"]](K=settings["K"])
    model.fit(matrix, show_progress=False)
    return model


def lists_of(model: Any, matrix: scipy.sparse.csr_matrix) -> np.ndarray:
    """The best unseen items of every user."""
    found, _ = model.recommend(np.arange(matrix.shape[0]), matrix, N=DEPTH, filter_already_liked_items=True)
    return np.asarray(found)


def quality(lists: np.ndarray, relevant: scipy.sparse.csr_matrix, totals: np.ndarray) -> float:
    """The mean of recall@20 and ndcg@20, over users with held-out items."""
    judged = totals > 0
    hits = np.stack([np.isin(row, relevant[user].indices) for user, row in enumerate(lists)])[judged]
    discount = 1 / np.log2(np.arange(2, DEPTH + 2))
    ideal = np.cumsum(discount)[np.minimum(totals[judged], DEPTH) - 1]
    return float(((hits.sum(axis=1) / totals[judged]).mean() + (hits @ discount / ideal).mean()) / 2)


def main() -> None:
    """Tune and fit each family."""
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    with np.load(folder / "data.npz") as saved:

        def matrix(name: str) -> scipy.sparse.csr_matrix:
            parts = (saved[f"{name}_data"], saved[f"{name}_indices"], saved[f"{name}_indptr"])
            return scipy.sparse.csr_matrix(parts, shape=tuple(saved[f"{name}_shape"].tolist()))

        first, validation, known, totals = matrix("first"), matrix("validation"), matrix("known"), saved["totals"]
    found = {}
    for family, settings in grid().items():
        judged = [quality(lists_of(fit(family, one, first, seed), first), validation, totals) for one in settings]
        best = settings[int(np.argmax(judged))]
        started = time.monotonic()
        model = fit(family, best, known, seed)
        seconds = time.monotonic() - started
        found[family] = lists_of(model, known)
        print(json.dumps({"family": family, "settings": best, "validation": max(judged), "seconds": seconds}))
    np.savez(folder / "lists.npz", **found)


if __name__ == "__main__":
    main()
