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
_BUDGET = 2**26


def neighbours(matrix: scipy.sparse.csr_array, near: Nearness) -> scipy.sparse.csr_array:
    """S of histories [users, items], float32 csr [items, items]: what an item of the history (row) adds to the score of
    another (column), the `near.keep` largest of each row."""
    items = matrix.shape[1]
    right = scaled_users(matrix, near.user_power)
    left = right.T.tocsr()
    diagonal = np.maximum(np.bincount(right.indices, right.data.astype(np.float64) ** 2, minlength=items), 1e-12)
    sources = (diagonal**-near.source_power).astype(np.float32)
    targets = (diagonal**-near.target_power).astype(np.float32)
    lengths, columns, values = np.zeros(items, np.int64), [], []
    # Products that a step of rows may have at most, so that memory stays bounded whatever the popularity of its items.
    work = np.cumsum(left @ np.diff(right.indptr).astype(np.float64))
    start = 0
    while start < items:
        before = work[start - 1] if start else 0.0
        after = max(start + 1, int(np.searchsorted(work, before + _BUDGET, side="right")))
        block = left[start:after] @ right
        for row in range(after - start):
            span = slice(block.indptr[row], block.indptr[row + 1])
            column = block.indices[span]
            value = block.data[span] * targets[column] * sources[start + row]
            column, value = _nearest(column, value, start + row, near.keep)
            lengths[start + row] = len(column)
            columns.append(column)
            values.append(value)
        start = after
    whole = (np.concatenate(values), np.concatenate(columns), np.append(0, np.cumsum(lengths)))
    return scipy.sparse.csr_array(whole, shape=(items, items))


def _nearest(column: np.ndarray, value: np.ndarray, source: int, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest positive values of a row, but for its own item's, in the order of their columns."""
    others = (value > 0) & (column != source)
    column, value = column[others], value[others]
    if keep < len(column):
        nearest = np.argpartition(-value, keep)[:keep]
        column, value = column[nearest], value[nearest]
    order = np.argsort(column)
    return column[order].astype(np.int32), value[order]


def scaled_users(matrix: scipy.sparse.csr_array, power: float) -> scipy.sparse.csr_array:
    """Histories that weigh less the longer they are: each multiplied by length^(-power/2)."""
    lengths = np.diff(matrix.indptr)
    factor = np.maximum(1, lengths).astype(np.float64) ** (-power / 2)
    return scipy.sparse.csr_array(
        ((matrix.data * np.repeat(factor, lengths)).astype(np.float32), matrix.indices, matrix.indptr),
        shape=matrix.shape,
    )
