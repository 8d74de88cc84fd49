"""Hashes of content: what decides that two items are the same, and into which split an item falls.

Texts have 64 bits of XXH3, whole columns at once. It is not cryptographic: who wants can write two texts that pass for
one, in their own data, so that one of them would be told as a duplicate (see docs/adr/0019).
"""

import hashlib
import re
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash
import pyarrow as pa

from workers.ingest import cells

Hashes = npt.NDArray[np.uint64]
_SIZE: Final = 16
_blake2b = partial(hashlib.blake2b, digest_size=_SIZE)
# One call less per row than a bound method of each.
_digest = type(hashlib.blake2b()).digest
_GOLDEN = 0x9E3779B97F4A7C15
_TOGETHER: Final = 1 << 14
_MASK = 2**64 - 1


# White space as Python knows it, in a regular expression.
SPACES: Final = "\\t-\\r\\x1c-\\x20\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# The same characters, one after the other.
WHITE: Final = "".join(re.findall(f"[{SPACES}]", "".join(map(chr, range(0x3001)))))
# Characters that every text may hold that is as it is hashed: none is a space but " ", none composes with another and
# none is written otherwise in NFC. What else is there is looked at text by text.
_USUAL: Final = (
    "\x00-\x08\x0e-\x1b -\x7e\u00a1-\u02ff\u0388-\u03ff\u0400-\u0482\u048a-\u058f\u05d0-\u05ea\u0620-\u064a"
    "\u0e01-\u0e30\u1ea0-\u1ef9\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u2328\u2460-\u26ff"
    "\u2701-\u27bf\u3001-\u3029\u3041-\u3096\u30a0-\u30ff"
    "\u4e00-\u9fff\uac00-\ud7a3\ufe0f\uff01-\uff9d\uffe0-\uffe6\U0001f300-\U0001faff"
)
# Finds texts that may differ from what is hashed of them.
UNUSUAL: Final = f"[^{_USUAL}]|^ |  | $"
# The two texts of a pair are hashed apart.
_SEEDS: Final = {"text": 0, "text_pair": 1}


class Digests(NamedTuple):
    """Digests of images as 32 hexadecimal digits each, and their first 64 bits, which are kept in memory.

    Two of 20 million rows have the same 64 bits once in 90,000 files.
    """

    hexadecimal: pa.StringArray
    short: Hashes


def named(texts: pl.Series) -> pl.Series:
    """The same as `cells.name` of each."""
    unusual = texts.str.contains(UNUSUAL)
    rows = unusual.arg_true()
    return texts.clone().scatter(rows, [cells.name(text) for text in texts.filter(unusual)]) if len(rows) else texts


def of_texts(texts: pl.Series, among: npt.NDArray[Any] | None = None, role: str = "text") -> Hashes:
    """64 bits of XXH3 each, equal for texts that differ at most in Unicode form and white space.

    `among`: where all texts are that UNUSUAL finds; None where that is not known.
    """
    hashes = _xxh3(texts, _SEEDS[role])
    rows = np.arange(len(texts)) if among is None else among
    looked_at = texts.gather(rows)
    unusual = looked_at.str.contains(UNUSUAL)
    if unusual.any():
        names = [cells.name(text) for text in looked_at.filter(unusual).to_list()]
        hashes[rows[unusual.to_numpy()]] = _xxh3(pl.Series(names, dtype=pl.String), _SEEDS[role])
    return hashes


def of_rows(rows: pl.DataFrame) -> Hashes:
    """The same of rows of a text, of two texts (`text`, `text_pair`), or of the `values` of a table."""
    hashes = [of_texts(texts, role=role) for role, texts in _texts(rows).items()]
    return hashes[0] if len(hashes) == 1 else of_pairs(*hashes)


def safe_of_rows(rows: pl.DataFrame) -> Hashes:
    """64 bits of BLAKE2b of the same: nobody can make two rows that have them in common as well."""
    named = (map(cells.name, texts) for texts in _texts(rows).values())
    return of_contents("\0".join(parts).encode() for parts in zip(*named, strict=True)).short


def _texts(rows: pl.DataFrame) -> dict[str, pl.Series]:
    if "values" not in rows.columns:
        return {role: rows[role] for role in _SEEDS if role in rows.columns}
    # Blank cells leave nothing behind, whatever stands between cells.
    return {"text": rows["values"].struct.unnest().select(pl.concat_str(pl.all(), separator=" ")).to_series()}


def _xxh3(texts: pl.Series, seed: int) -> Hashes:
    hashed = polars_hash.col("text").nchash.xxh3_64(seed=seed)
    return np.array(pl.DataFrame({"text": texts}).select(hashed).to_series(), np.uint64)


def of_names(names: pl.Series, role: str) -> npt.NDArray[np.uint64]:
    """Digests of users or items, which differ where the roles do: 64 bits of BLAKE2b each."""
    digest = partial(hashlib.blake2b, digest_size=8, person=role.encode())
    contents = names.cast(pl.Binary).to_list()
    return np.frombuffer(b"".join(map(_digest, map(digest, contents))), "<u8").astype(np.uint64)


def of_pairs(first: Hashes, second: Hashes) -> Hashes:
    """Hashes of interactions from the digests of their user and item, or of two texts: the sum of both, mixed by
    splitmix64. The digests must differ where the roles do.

    Two pairs are the same by chance as rarely as any 64 bits: of 20 million once in 90,000 files.
    """
    return _mixed(first + second)


def of_contents(contents: Iterable[bytes]) -> Digests:
    """16 bytes of BLAKE2b for each."""
    digests = b"".join(map(_digest, map(_blake2b, contents)))
    rows = len(digests) // _SIZE
    ends = pa.py_buffer(np.arange(0, 2 * len(digests) + 1, 2 * _SIZE, dtype=np.int32))
    hexadecimal = pa.StringArray.from_buffers(rows, ends, pa.py_buffer(digests.hex().encode()))
    return Digests(hexadecimal, _short(digests))


def _short(digests: bytes) -> Hashes:
    return np.frombuffer(digests, "<u8")[::2].astype(np.uint64)


def short(hexadecimal: Iterable[str]) -> Hashes:
    """The first 64 bits of digests."""
    return _short(bytes.fromhex("".join(hexadecimal)))


def uniform(hashes: Hashes, seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) per hash, independent of the hashes' order and different for each seed (splitmix64)."""
    offset = np.uint64((seed * _GOLDEN + _GOLDEN) & _MASK)
    shares = np.empty(len(hashes), np.float64)
    # Some at a time: what is made on the way stays in the processor's cache.
    for start in range(0, len(hashes), _TOGETHER):
        here = slice(start, start + _TOGETHER)
        mixed = _mixed(hashes[here] + offset)
        np.multiply(mixed >> np.uint64(11), 2.0**-53, out=shares[here])
    return shares


def _mixed(hashes: Hashes) -> Hashes:
    # In place: of many rows each copy counts.
    mixed = hashes >> np.uint64(30)
    mixed ^= hashes
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


class ColumnsHash:
    """The hash of a version: over each column by itself, in the order of rows, so that whole columns are hashed at
    once and the same rows give the same, whatever the batches.

    Labels, users and items count as their numbers in order of appearance, and those names in that order.
    """

    def __init__(self) -> None:
        self._digests: dict[str, Any] = {}

    def add(self, column: str, values: npt.NDArray[Any]) -> None:
        """The next values of a column, each with as many bytes as the others."""
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        self._digests.setdefault(column, hashlib.sha256()).update(little.data)

    def add_texts(self, column: str, texts: pa.ChunkedArray, part: str = "texts") -> None:
        """The next texts of a column: how many bytes each has, and all of them one after the other, in UTF-8."""
        digest = self._digests.setdefault(f"{column}.{part}", hashlib.sha256())
        for chunk in texts.cast(pa.large_string()).chunks:
            _, buffer, text = chunk.buffers()
            ends = np.frombuffer(buffer, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            self.add(f"{column}.lengths", np.diff(ends).astype(np.uint32))
            if text:
                digest.update(memoryview(text)[ends[0] : ends[-1]])

    def add_names(self, column: str, names: pl.Series) -> None:
        """All names of a column of numbers."""
        self.add_texts(column, pa.chunked_array([names.to_arrow()]), "names")

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""
        named = sorted(self._digests.items())
        return hashlib.sha256("".join(f"{name}:{one.hexdigest()};" for name, one in named).encode()).hexdigest()
