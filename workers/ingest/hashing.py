"""Hashes of content: what decides that two items are the same, and into which split an item falls."""

import hashlib
import unicodedata

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def of_text(text: str) -> bytes:
    """16 bytes that are equal for texts that differ at most in Unicode form and white space."""
    squeezed = " ".join(text.split())
    if not squeezed.isascii():
        squeezed = unicodedata.normalize("NFC", squeezed)
    return of_bytes(squeezed.encode())


def of_bytes(data: bytes) -> bytes:
    """16 bytes of BLAKE2b."""
    return hashlib.blake2b(data, digest_size=16).digest()


def of_pair(user: str, item: str) -> bytes:
    """16 bytes for an interaction; ("ab", "c") and ("a", "bc") differ."""
    first = user.encode()
    return of_bytes(len(first).to_bytes(8, "little") + first + item.encode())


def short(digest: bytes) -> int:
    """The first 64 bits: what is kept in memory per row. Two of 20 million rows collide once in 90,000 files."""
    return int.from_bytes(digest[:8], "little")


def uniform(hashes: Hashes, seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) per hash, independent of the hashes' order and different for each seed (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = hashes + np.uint64((seed * _GOLDEN + _GOLDEN) & _MASK)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


class ContentHash:
    """The hash of a dataset version: over its rows in order, whatever the batches, so a retry gives the same."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, hashes: list[str], splits: list[str], values: list[str]) -> None:
        """Rows: the item's hash, the split, and everything else that training sees, as one text."""
        rows = (f"{h}{s}{len(v)}:{v}" for h, s, v in zip(hashes, splits, values, strict=True))
        self._digest.update("".join(rows).encode())

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        return self._digest.hexdigest()
