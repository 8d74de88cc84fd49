"""Item-to-item neighbourhoods: which items are met by the same users, each item with its nearest neighbours only.

    S[i, j] = Σ_u |H_u|^-β · x_ui · x_uj  /  (d_i^a · d_j^b),  d_i = S's diagonal before the division

With β = 0 and a = b = ½ it is the cosine of Sarwar et al. 2001, with β = 1 a random walk from item to user to item that
is drawn to popular items less the larger b is (P3α and RP3β; Paudel et al. 2016).
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse


class Nearness(NamedTuple):
    """β, a and b of the formula, and how many neighbours each item keeps."""

    user_power: float
    source_power: float
    target_power: float
    keep: int


# The baseline that every model is shown beside.
COSINE = Nearness(user_power=0.0, source_power=0.5, target_power=0.5, keep=100)
# Numbers of the dense block that one step works on: 128 MB.
_BUDGET = 2**25


def neighbours(matrix: scipy.sparse.csr_array, near: Nearness) -> scipy.sparse.csr_array:
    """S of histories [users, items], float32 csr [items, items]: what an item of the history (row) adds to the score of
    another (column), the `near.keep` largest of each row."""
    items, keep = matrix.shape[1], near.keep
    right = scaled_users(matrix, near.user_power)
    left = right.T.tocsr()
    diagonal = np.maximum(np.bincount(right.indices, right.data.astype(np.float64) ** 2, minlength=items), 1e-12)
    sources, targets = diagonal**-near.source_power, (diagonal**-near.target_power).astype(np.float32)
    starts, columns, values = [np.zeros(1, np.int64)], [], []
    step = max(1, _BUDGET // items)
    for start in range(0, items, step):
        block = (left[start : start + step] @ right).toarray()
        rows = len(block)
        block *= sources[start : start + rows, None].astype(np.float32)
        block *= targets
        block[np.arange(rows), np.arange(start, start + rows)] = 0
        if keep < items:
            nearest = np.argpartition(block, items - keep, axis=1)[:, items - keep :]
            nearest.sort(axis=1)
        else:
            nearest = np.tile(np.arange(items), (rows, 1))
        value = np.take_along_axis(block, nearest, axis=1)
        kept = value > 0
        starts.append(starts[-1][-1] + np.cumsum(kept.sum(axis=1)))
        columns.append(nearest[kept].astype(np.int32))
        values.append(value[kept])
    whole = (np.concatenate(values), np.concatenate(columns), np.concatenate(starts))
    return scipy.sparse.csr_array(whole, shape=(items, items))


def scaled_users(matrix: scipy.sparse.csr_array, power: float) -> scipy.sparse.csr_array:
    """Histories that weigh less the longer they are: each multiplied by length^(-power/2)."""
    lengths = np.diff(matrix.indptr)
    factor = np.maximum(1, lengths).astype(np.float64) ** (-power / 2)
    return scipy.sparse.csr_array(
        ((matrix.data * np.repeat(factor, lengths)).astype(np.float32), matrix.indices, matrix.indptr),
        shape=matrix.shape,
    )
