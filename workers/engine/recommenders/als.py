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
# Conjugate gradients go through a batch's numbers again and again: 8 MB stay in a cache.
_CACHED = 2**21
# Multiplications beyond which Cholesky's exact solutions take minutes per iteration.
_EXACT_UP_TO = 1e10
_STEPS = 5
# Interactions that the objective is estimated from, where there are more.
_SAMPLED = 2_000_000


def initial_items(items: int, factors: int, seed: int) -> torch.Tensor:
    """Small random item factors, float32 [items, factors]."""
    source = np.random.default_rng(seed)
    return torch.from_numpy(source.normal(0, 0.1, (items, factors)).astype(np.float32))


def solve_rows(matrix: scipy.sparse.csr_array, other: torch.Tensor, alpha: float, ridge: float) -> torch.Tensor:
    """The best factors of the rows of `matrix` [rows, columns], given those of its columns, [columns, factors].

    One Cholesky solution per row, batched over rows of similar length; for large data some steps of conjugate gradients
    (Takács, Pilászy and Tikk 2011), preconditioned by what all rows share. Deterministic on the CPU.
    """
    factors = other.shape[1]
    shared = other.T @ other + ridge * torch.eye(factors, device=other.device)
    padded = torch.cat([other, other.new_zeros(1, factors)])
    found = other.new_zeros(matrix.shape[0], factors)
    exact = matrix.nnz * factors**2 <= _EXACT_UP_TO
    inverse = None if exact else torch.linalg.inv(shared.double()).float()
    for rows, columns, weights in _batches(matrix, factors if exact else 1, _BUDGET if exact else _CACHED // factors):
        extra = alpha * torch.from_numpy(weights).to(other.device)
        places = torch.from_numpy(columns).to(other.device)
        if inverse is None:
            solved = _by_cholesky(padded, places, extra, shared)
        else:
            solved = _by_gradients(padded[places], extra, shared, inverse)
        found[torch.from_numpy(rows).to(other.device)] = solved
    return found


def _by_cholesky(padded: torch.Tensor, places: torch.Tensor, extra: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    factors = padded.shape[1]
    system = shared.repeat(len(places), 1, 1)
    target = padded.new_zeros(len(places), factors)
    step = max(1, _BUDGET // (len(places) * factors))
    for start in range(0, places.shape[1], step):
        met, more = padded[places[:, start : start + step]], extra[:, start : start + step]
        system.baddbmm_((met * more[..., None]).transpose(1, 2), met)
        # Padding meets the zero row, so that 1 + 0 adds nothing.
        target += torch.einsum("bl,blf->bf", 1 + more, met)
    return torch.cholesky_solve(target[..., None], torch.linalg.cholesky(system))[..., 0]


def _by_gradients(met: torch.Tensor, extra: torch.Tensor, shared: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """`met` float32 [rows, length, factors]: the factors of what each row met."""
    left = torch.bmm((1 + extra)[:, None], met)[:, 0]
    found = torch.zeros_like(left)
    direction = ahead = left @ inverse
    size = (left * ahead).sum(dim=1)
    for _ in range(_STEPS):
        seen = torch.bmm(met, direction[..., None])[..., 0]
        image = direction @ shared + torch.bmm((extra * seen)[:, None], met)[:, 0]
        step = (size / (direction * image).sum(dim=1).clamp_min(1e-30))[:, None]
        found += step * direction
        left = left - step * image
        ahead = left @ inverse
        before, size = size, (left * ahead).sum(dim=1)
        direction = ahead + (size / before.clamp_min(1e-30))[:, None] * direction
    return found


def _batches(
    matrix: scipy.sparse.csr_array, factors: int, budget: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows that are not empty, by falling length: row numbers [b], columns int64 [b, length] padded with the number of
    columns, weights float32 [b, length] padded with 0."""
    lengths = np.diff(matrix.indptr)
    order = np.argsort(-lengths, kind="stable")
    order = order[: int((lengths > 0).sum())]
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        rows = order[start : start + max(1, budget // (factors * max(factors, longest)))]
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
    """What ALS lowers, per interaction. The sum over all pairs comes from Gram matrices: only met pairs are visited,
    and of very many only some, evenly spread."""
    everything = ((users.T @ users) * (items.T @ items)).sum().double()
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    met = torch.zeros((), dtype=torch.float64)
    step, stride = max(1, _BUDGET // users.shape[1]), max(1, matrix.nnz // _SAMPLED)
    sampled = np.arange(0, matrix.nnz, stride)
    for start in range(0, len(sampled), step):
        part = sampled[start : start + step]
        left = users[torch.from_numpy(row[part]).to(users.device)]
        right = items[torch.from_numpy(matrix.indices[part].astype(np.int64)).to(users.device)]
        guess = (left * right).sum(dim=1).cpu().double()
        confidence = 1 + alpha * torch.from_numpy(matrix.data[part]).double()
        met += (confidence * (1 - guess) ** 2 - guess**2).sum()
    norm = ridge * ((users**2).sum() + (items**2).sum()).double()
    met *= matrix.nnz / max(1, len(sampled))
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
