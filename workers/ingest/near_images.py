"""Images that are nearly the same: scaled, compressed anew, a little brighter, without their colours.

Images whose perceptual hashes differ in few bits are candidates, found by what has one byte of eight in common (by the
pigeonhole principle that misses none; Norouzi, Punjani, Fleet 2012, "Fast search in Hamming space with multi-index
hashing"). Of candidates the correlation of their thumbnails and the shape of the images decide.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from workers.ingest.splits import Ints

# Bits of 64 in which the hashes of candidates differ at most: with eight bytes, one of them is equal then.
_BITS: Final = 7
_CORRELATION: Final = 0.97
_SHAPE: Final = 1.1
_BLOCK: Final = 2048
Hashes = npt.NDArray[np.uint64]
Thumbnails = npt.NDArray[np.uint8]


def find(hashes: Hashes, thumbnails: Thumbnails, shapes: npt.NDArray[np.float64]) -> Ints:
    """int64 [images]: the first of those that are nearly the same as each; of an image like no other its own place.

    `thumbnails`: uint8 [images, pixels]; `shapes`: width by height.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(hashes)
    found = [np.empty((0, 2), np.int64)]
    for pairs in _candidates(hashes):
        similar = _correlation(thumbnails, pairs) >= _CORRELATION
        shape = shapes[pairs[:, 0]] / shapes[pairs[:, 1]]
        found.append(pairs[similar & (shape < _SHAPE) & (shape > 1 / _SHAPE)])
    proven = np.concatenate(found)
    graph = coo_array((np.ones(len(proven)), (proven[:, 0], proven[:, 1])), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    _, firsts, inverse = np.unique(part, return_index=True, return_inverse=True)
    return firsts[inverse]


def _candidates(hashes: Hashes) -> Iterator[Ints]:
    """Pairs of images whose hashes are near, [pairs, 2], in blocks; some pairs come several times."""
    for byte in range(8):
        key = (hashes >> np.uint64(8 * byte)).astype(np.uint8)
        order = np.argsort(key, kind="stable")
        for run in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            for start in range(0, len(run), _BLOCK):
                rows = run[start : start + _BLOCK]
                for at in range(start, len(run), _BLOCK):
                    others = run[at : at + _BLOCK]
                    bits = np.bitwise_count(hashes[rows, None] ^ hashes[None, others])
                    left, right = np.nonzero(bits <= _BITS)
                    pairs = np.stack([rows[left], others[right]], axis=1)
                    yield pairs[pairs[:, 0] < pairs[:, 1]]


def _correlation(thumbnails: Thumbnails, pairs: Ints) -> npt.NDArray[np.float64]:
    """Pearson's, of the pixels of each pair."""
    parts = [np.empty(0)]
    for start in range(0, len(pairs), 10_000):
        both = thumbnails[pairs[start : start + 10_000]].astype(np.float32)
        both -= both.mean(axis=2, keepdims=True)
        scale = np.sqrt((both**2).sum(axis=2)).prod(axis=1)
        parts.append((both[:, 0] * both[:, 1]).sum(axis=1) / np.maximum(scale, 1e-6))
    return np.concatenate(parts)
