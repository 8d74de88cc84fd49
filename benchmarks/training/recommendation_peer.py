"""One model of implicit, in an environment that holds implicit and nothing of Slipway: train.npz → lists.npy.

Prints the seconds of training.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking

MODELS = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}


def main() -> None:
    """Train on the histories of a folder, and write the best 20 unseen items of every user."""
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    with np.load(folder / "train.npz") as saved:
        shape = tuple(saved["shape"].tolist())
        matrix = scipy.sparse.csr_matrix((saved["data"], saved["indices"], saved["indptr"]), shape=shape)
    model = MODELS[settings.pop("model")](random_state=0, **settings)
    started = time.monotonic()
    model.fit(matrix, show_progress=False)
    print(time.monotonic() - started)
    lists, _ = model.recommend(np.arange(shape[0]), matrix, N=20, filter_already_liked_items=True)
    np.save(folder / "lists.npy", lists)


if __name__ == "__main__":
    main()
