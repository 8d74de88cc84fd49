"""EASE: the best item-to-item weights of a linear model with a zero diagonal, in closed form (Steck 2019).

    minimise |X − XB|² + λ|B|²  with  diag(B) = 0   ⇒   B = −P / diag(P) off the diagonal,  P = (XᵀX + λI)⁻¹

With `dropout` p, the model is trained as if each item of a history were hidden with probability p, which adds
p/(1−p) · diag(XᵀX) to λI (Steck, "Autoencoders that don't overfit towards the identity", 2020).
"""

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg.lapack
import scipy.sparse

if TYPE_CHECKING:
    import torch

# B has items² entries, found in items³ steps: 8,000 items mean 128 MB served and about 20 s per solution on two cores.
AUTO_ITEMS = 8_000
# Above this, B would not fit into one ONNX file (2 GB).
MAX_ITEMS = 30_000
_FLOAT32_FROM = 0.1
_BLOCK = 512


def gram(matrix: scipy.sparse.csr_array) -> np.ndarray:
    """XᵀX of histories [users, items], float64 [items, items]."""
    wide = matrix.astype(np.float64)
    dense: np.ndarray = (wide.T @ wide).toarray()
    return dense


def ease(gram_matrix: np.ndarray, ridge: float, dropout: float, device: "torch.device") -> np.ndarray:
    """B, float32 [items, items]: what an item of the history (row) adds to the score of another (column)."""
    diagonal = np.diagonal(gram_matrix)
    whole = diagonal + ridge + dropout / (1 - dropout) * diagonal
    # Scaled to a diagonal of ones, no eigenvalue lies below the dropout: then float32 loses less than the rounding to
    # float16 that follows, in half the time and memory.
    precision = np.dtype("float32" if dropout >= _FLOAT32_FROM else "float64")
    scale = (1 / np.sqrt(whole)).astype(precision)
    system = gram_matrix.astype(precision)
    system *= scale[:, None]
    system *= scale
    np.fill_diagonal(system, 1)
    weights = _inverse(system, device)
    divisor = -np.diagonal(weights) * scale
    weights *= scale[:, None]
    weights /= divisor
    np.fill_diagonal(weights, 0)
    return weights.astype(np.float32, copy=False)


def _inverse(system: np.ndarray, device: "torch.device") -> np.ndarray:
    """Inverse of a symmetric positive definite matrix, which may be overwritten."""
    if device.type == "cuda":
        import torch

        on_device = torch.from_numpy(system).to(device)
        found: np.ndarray = torch.cholesky_inverse(torch.linalg.cholesky(on_device)).cpu().numpy()
        return found
    # LAPACK's potri takes half of what torch.cholesky_inverse takes on a CPU. A symmetric matrix is its own transpose:
    # given as Fortran order, nothing is copied.
    potrf, potri = scipy.linalg.lapack.get_lapack_funcs(("potrf", "potri"), (system,))
    factor, failed = potrf(system.T, lower=1, overwrite_a=1)
    inverse, failed = (factor, failed) if failed else potri(factor, lower=1, overwrite_c=1)
    if failed:
        raise np.linalg.LinAlgError("the Gram matrix with its ridge is not positive definite")
    # Only the lower half was written. Mirror it in blocks that fit a cache, and give it back in C order.
    for start in range(0, len(inverse), _BLOCK):
        block, after = slice(start, start + _BLOCK), start + _BLOCK
        inverse[block, after:] = inverse[after:, block].T
        inverse[block, block] = np.tril(inverse[block, block]) + np.tril(inverse[block, block], -1).T
    whole: np.ndarray = inverse.T
    return whole
