"""Images that are nearly the same: scaled, compressed anew, a little brighter, without their colours.

Images whose perceptual hashes differ in few bits are candidates, found by what has one byte of eight in common (by the
pigeonhole principle that misses none; Norouzi, Punjani, Fleet 2012, "Fast search in Hamming space with multi-index
hashing"). Of candidates the correlation of their thumbnails and the shape of the images decide. Images of one label are
compared with each other's mirror images too; of different labels, left and right may be the difference.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from workers.ingest import near
from workers.ingest.context import Import
from workers.ingest.image_look import SIDE, Looks, Trait
from workers.ingest.splits import Ints

# Bits of 64 in which the hashes of candidates differ at most: with eight bytes, one of them is equal then.
_BITS: Final = 7
_CORRELATION: Final = 0.97
_SHAPE: Final = 1.1
_BLOCK: Final = 2048
Hashes = npt.NDArray[np.uint64]
Thumbnails = npt.NDArray[np.uint8]


def of_images(ctx: Import, hashes: Hashes, looks: Looks, shapes: npt.NDArray[np.float64], labels: Ints) -> Ints | None:
    """As `near.of_texts`, by the looks of each image, its width by height and its label. Blank ones have nothing by
    which they could be told apart."""
    if not ctx.limits.max_compared:
        return None
    near.progress(ctx, 0)
    firsts = near.looked_at(ctx, np.unique(hashes, return_index=True)[1])
    firsts = firsts[looks.traits[firsts] & Trait.BLANK == 0]
    found = np.arange(len(hashes))
    found[firsts] = firsts[find(looks.at(firsts), shapes[firsts], labels[firsts])]
    return near.alike(hashes, found)


def find(looks: Looks, shapes: npt.NDArray[np.float64], labels: Ints) -> Ints:
    """int64 [images]: the first of those that are nearly the same as each; of an image like no other its own place.

    `shapes`: width by height; `labels`: equal where they are.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(shapes)
    found = [np.empty((0, 2), np.int64)]
    for pairs in _candidates(looks.hashes, looks.hashes):
        found.append(_proven(pairs, looks.grey, looks.grey, shapes))
    turned = looks.grey.reshape(count, SIDE, SIDE)[:, :, ::-1].reshape(count, SIDE**2)
    for pairs in _candidates(looks.hashes, looks.mirrored):
        found.append(_proven(pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]], looks.grey, turned, shapes))
    proven = np.concatenate(found)
    graph = coo_array((np.ones(len(proven)), (proven[:, 0], proven[:, 1])), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    _, firsts, inverse = np.unique(part, return_index=True, return_inverse=True)
    return firsts[inverse]


def _candidates(hashes: Hashes, others: Hashes) -> Iterator[Ints]:
    """Pairs of different images, [pairs, 2], the hash of the one near the other hash of the other; in blocks, some
    pairs several times, or in either order."""
    for byte in range(8):
        for left, right in zip(_by_byte(hashes, byte), _by_byte(others, byte), strict=True):
            for start in range(0, len(left), _BLOCK):
                rows = left[start : start + _BLOCK]
                # Of the same hashes each pair comes up once.
                for at in range(start if others is hashes else 0, len(right), _BLOCK):
                    columns = right[at : at + _BLOCK]
                    near = np.bitwise_count(hashes[rows, None] ^ others[None, columns]) <= _BITS
                    places = np.nonzero(near)
                    pairs = np.stack([rows[places[0]], columns[places[1]]], axis=1)
                    yield pairs[pairs[:, 0] < pairs[:, 1] if others is hashes else pairs[:, 0] != pairs[:, 1]]


def _by_byte(hashes: Hashes, byte: int) -> list[Ints]:
    """The images by one byte of their hashes: for each of its 256 values those that have it."""
    key = (hashes >> np.uint64(8 * byte)).astype(np.uint8)
    order = np.argsort(key, kind="stable")
    return np.split(order, np.searchsorted(key[order], np.arange(1, 256)))


def _proven(pairs: Ints, thumbnails: Thumbnails, others: Thumbnails, shapes: npt.NDArray[np.float64]) -> Ints:
    """Those of the pairs that are nearly the same, the first by its thumbnail, the second by its other one."""
    shape = shapes[pairs[:, 0]] / shapes[pairs[:, 1]]
    pairs = pairs[(shape < _SHAPE) & (shape > 1 / _SHAPE)]
    similar = [np.empty(0, np.bool_)]
    for start in range(0, len(pairs), 10_000):
        left, right = pairs[start : start + 10_000].T
        similar.append(_correlation(thumbnails[left], others[right]) >= _CORRELATION)
    proven: Ints = pairs[np.concatenate(similar)]
    return proven


def _correlation(left: Thumbnails, right: Thumbnails) -> npt.NDArray[np.float32]:
    """Pearson's, of the pixels of each pair."""
    both = np.stack([left, right]).astype(np.float32)
    both -= both.mean(axis=2, keepdims=True)
    scale = np.sqrt((both**2).sum(axis=2)).prod(axis=0)
    correlation: npt.NDArray[np.float32] = both.prod(axis=0).sum(axis=1) / np.maximum(scale, 1e-6)
    return correlation
