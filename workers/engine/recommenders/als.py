"""Alternating least squares for implicit feedback (Hu, Koren and Volinsky 2008).

minimise Σ_ui c_ui (p_ui − x_u·y_i)² + λ(Σ|x_u|² + Σ|y_i|²)
with c = 1 + α·weight and p = 1 where user u met item i, else c = 1 and p = 0.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse
import torch

# Float numbers that one batch of systems may take: 64 MB.
_BUDGET = 2**24


def initial_items(items: int, factors: int, seed: int) -> torch.Tensor:
    """Small random item factors, float32 [items, factors]."""
    source = np.random.default_rng(seed)
    return torch.from_numpy(source.normal(0, 0.1, (items, factors)).astype(np.float32))


def solve_rows(matrix: scipy.sparse.csr_array, other: torch.Tensor, alpha: float, ridge: float) -> torch.Tensor:
    """The best factors of the rows of `matrix` [rows, columns], given those of its columns, [columns, factors].

    Exact: one Cholesky solution per row, batched over rows of similar length. Deterministic on the CPU.
    """
    factors = other.shape[1]
    device = other.device
    shared = other.T @ other + ridge * torch.eye(factors, device=device)
    padded = torch.cat([other, other.new_zeros(1, factors)])
    found = other.new_zeros(matrix.shape[0], factors)
    for rows, columns, weights in _batches(matrix, factors):
        system = shared.repeat(len(rows), 1, 1)
        target = other.new_zeros(len(rows), factors)
        step = max(1, _BUDGET // (len(rows) * factors))
        for start in range(0, columns.shape[1], step):
            met = padded[torch.from_numpy(columns[:, start : start + step]).to(device)]
            extra = alpha * torch.from_numpy(weights[:, start : start + step]).to(device)
            system.baddbmm_((met * extra[..., None]).transpose(1, 2), met)
            # Padding meets the zero row, so that 1 + 0 adds nothing.
            target += torch.einsum("bl,blf->bf", 1 + extra, met)
        solved = torch.cholesky_solve(target[..., None], torch.linalg.cholesky(system))
        found[torch.from_numpy(rows).to(device)] = solved[..., 0]
    return found


def _batches(matrix: scipy.sparse.csr_array, factors: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows that are not empty, by falling length: row numbers [b], columns int64 [b, length] padded with the number of
    columns, weights float32 [b, length] padded with 0."""
    lengths = np.diff(matrix.indptr)
    order = np.argsort(-lengths, kind="stable")
    order = order[: int((lengths > 0).sum())]
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        rows = order[start : start + max(1, _BUDGET // (factors * max(factors, longest)))]
        start += len(rows)
        place = matrix.indptr[rows][:, None] + np.arange(longest)
        inside = np.arange(longest) < lengths[rows][:, None]
        place = np.where(inside, place, 0)
        columns = np.where(inside, matrix.indices[place], matrix.shape[1]).astype(np.int64)
        yield rows, columns, np.where(inside, matrix.data[place], 0).astype(np.float32)


def als(
    matrix: scipy.sparse.csr_array,
    items: torch.Tensor,
    *,
    alpha: float,
    ridge: float,
    iterations: range,
    after: Callable[[int, torch.Tensor, float], None] = lambda iteration, items, loss: None,
) -> torch.Tensor:
    """Item factors after some iterations from `items`; `after(iteration, items, loss)` is called at the end of each."""
    transposed = matrix.T.tocsr()
    for iteration in iterations:
        users = solve_rows(matrix, items, alpha, ridge)
        items = solve_rows(transposed, users, alpha, ridge)
        after(iteration, items, objective(matrix, users, items, alpha, ridge))
    return items


def objective(
    matrix: scipy.sparse.csr_array, users: torch.Tensor, items: torch.Tensor, alpha: float, ridge: float
) -> float:
    """What ALS lowers, per interaction. The sum over all pairs comes from Gram matrices: only met pairs are visited."""
    everything = ((users.T @ users) * (items.T @ items)).sum().double()
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    met = torch.zeros((), dtype=torch.float64)
    step = max(1, _BUDGET // users.shape[1])
    for start in range(0, matrix.nnz, step):
        part = slice(start, start + step)
        left = users[torch.from_numpy(row[part]).to(users.device)]
        right = items[torch.from_numpy(matrix.indices[part].astype(np.int64)).to(users.device)]
        guess = (left * right).sum(dim=1).cpu().double()
        confidence = 1 + alpha * torch.from_numpy(matrix.data[part]).double()
        met += (confidence * (1 - guess) ** 2 - guess**2).sum()
    norm = ridge * ((users**2).sum() + (items**2).sum()).double()
    total: float = (everything.cpu() + met + norm.cpu()).item()
    return total / max(1, int(matrix.nnz))


def fold_in(items: torch.Tensor, strength: float) -> torch.Tensor:
    """P = Y (YᵀY + s·I)⁻¹, float32 [items, factors]: a history's factors are the sum of its rows.

    Least squares without confidences, so that it is linear in the history and a server needs no solver. `strength` is s
    as a share of the mean eigenvalue of YᵀY.
    """
    wide = items.double()
    gram = wide.T @ wide
    ridge = max(strength * float(gram.trace()) / len(gram), 1e-12)
    system = gram + ridge * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    found: torch.Tensor = torch.linalg.solve(system, wide.T).T.float().contiguous()
    return found
