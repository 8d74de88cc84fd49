"""What is met next: EASE's linear model from the recent past to the near future (after Choi et al., SLIST, 2021).

    minimise Σ_t |p_t B − f_t|² + λ|B|²,  p_t = Σ_{s<t} γ^(t−1−s) e_s,  f_t = Σ_{s≥t} γ^(s−t) e_s

over every place t of every history: p_t is what came before it, the latest counting most, f_t what came from it on.
"""

import numpy as np
import scipy.linalg
import scipy.sparse

# Items that are looked back and ahead at; with γ = 0.8, those beyond weigh less than a tenth.
BACK, AHEAD = 12, 6
# As for EASE: each item of the past is hidden with this probability.
_DROPOUT = 1 / 3
# Places whose pasts and futures are made at a time.
_PLACES = 100_000


def past_and_future(matrix: scipy.sparse.csr_array, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """Σ pᵀp and Σ pᵀf, float64 [items, items], of histories [users, items] whose items stand oldest first."""
    width = matrix.shape[1]
    gram, cross = np.zeros((width, width)), np.zeros((width, width))
    starts = matrix.indptr
    user = 0
    while user < matrix.shape[0]:
        after = max(user + 1, int(np.searchsorted(starts, starts[user] + _PLACES, side="right")) - 1)
        rows = slice(starts[user], starts[after])
        row = np.repeat(np.arange(after - user), np.diff(starts[user : after + 1]))
        past = _shifted(row, matrix.indices[rows], range(1, BACK + 1), decay, width)
        future = _shifted(row, matrix.indices[rows], range(0, -AHEAD, -1), decay, width)
        gram += (past.T @ past).toarray()
        cross += (past.T @ future).toarray()
        user = after
    return gram, cross


def _shifted(row: np.ndarray, items: np.ndarray, lags: range, decay: float, width: int) -> scipy.sparse.csr_array:
    """For each place the items `lags` places before it in the same row, weighed by decay^0, decay^1, …"""
    places, columns, values = [], [], []
    place = np.arange(len(items))
    for power, lag in enumerate(lags):
        inside = (place - lag >= 0) & (place - lag < len(items))
        here = place[inside]
        here = here[row[here - lag] == row[here]]
        places.append(here)
        columns.append(items[here - lag])
        values.append(np.full(len(here), decay**power))
    whole = (np.concatenate(values), (np.concatenate(places), np.concatenate(columns)))
    return scipy.sparse.csr_array(whole, shape=(len(items), width))


def sequence(gram: np.ndarray, cross: np.ndarray, ridge: float) -> np.ndarray:
    """B, float32 [items, items]: what an item of the past (row) adds to the score of one to come (column)."""
    system = gram.copy()
    diagonal = np.diagonal(gram)
    system[np.diag_indices(len(system))] += ridge + _DROPOUT / (1 - _DROPOUT) * diagonal
    weights = scipy.linalg.solve(system, cross, assume_a="pos", overwrite_a=True)
    found: np.ndarray = weights.astype(np.float32)
    return found
