"""Texts as sets of short pieces, for comparing them: whole columns at a time.

A text is folded first (Unicode form NFKC, case, white space and punctuation away), so that what remains differs in
content. Its shingles are its overlapping runs of four characters, or of two where most of them are Chinese, Japanese or
Korean, whose characters say more each (Broder 1997, "On the resemblance and containment of documents").
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from workers.ingest.normal_forms import is_heaped, normal

Hashes = npt.NDArray[np.uint64]
Values = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int64]
# Of longer texts the beginning is compared.
MAX_CHARS: Final = 20_000
_RUN: Final = 4
_RUN_OF_WIDE: Final = 2
# So many characters at a time are in memory as numbers.
_BATCH_CHARS: Final = 1 << 20
_BASIC: Final = 0x10000


class Folded(NamedTuple):
    """Some texts as code points, one after the other: uint32, and where each begins (one more than texts)."""

    chars: Values
    starts: Ints

    @property
    def lengths(self) -> Ints:
        """Characters of each text."""
        return np.diff(self.starts)

    @property
    def wide(self) -> npt.NDArray[np.bool_]:
        """Whether most of a text's characters are of a script that writes words or syllables in one."""
        wide = ((self.chars >= 0x2E80) & (self.chars <= 0xD7FF)) | (self.chars >= 0x20000) & (self.chars < 0x40000)
        before = np.concatenate([[0], np.cumsum(wide)])
        return 2 * np.diff(before[self.starts]) > self.lengths


def batches(texts: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The texts, cut at 20,000 characters, in parts of bounded size, each with the place of its first."""
    start, size, part = 0, 0, list[str]()
    for place, text in enumerate(texts):
        part.append(text[:MAX_CHARS])
        size += len(part[-1])
        if size >= _BATCH_CHARS:
            yield start, part
            start, size, part = place + 1, 0, []
    if part:
        yield start, part


def fold(texts: list[str]) -> Folded:
    """The texts without what people write differently by chance."""
    # No text holds a zero byte; as a separator it survives both changes.
    joined = "\0".join(texts) + "\0"
    if not joined.isascii():
        if is_heaped(joined):
            joined = "\0".join(normal("NFKC", text) for text in texts) + "\0"
        else:
            joined = unicodedata.normalize("NFKC", joined)
    codes = np.frombuffer(joined.casefold().encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = codes == 0
    codes = codes[ends | ~_dropped()[np.minimum(codes, _BASIC)]]
    at = np.flatnonzero(codes == 0)
    starts = np.concatenate([[0], at + 1]) - np.arange(len(texts) + 1)
    return Folded(codes[codes != 0], starts.astype(np.int64))


@cache
def _dropped() -> npt.NDArray[np.bool_]:
    """Which characters are white space, punctuation, or unseen; the last entry is for all beyond the first plane."""
    return np.array([unicodedata.category(chr(code))[0] in "PZC" for code in range(_BASIC)] + [False])


def whole(folded: Folded) -> Hashes:
    """A hash of each folded text."""
    place = np.arange(len(folded.chars), dtype=np.uint64) - np.repeat(folded.starts[:-1], folded.lengths).astype(
        np.uint64
    )
    with np.errstate(over="ignore"):
        mixed = (folded.chars + (place << np.uint64(21)) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        before = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
        return np.diff(before[folded.starts])


def shingles(folded: Folded) -> tuple[Ints, Values]:
    """Of every shingle the number of its text, in order, and its hash; a text may have one several times."""
    lengths, wide = folded.lengths, folded.wide
    text = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    left = np.repeat(folded.starts[1:], lengths) - np.arange(len(folded.chars))
    hashes = _runs(folded.chars, _RUN)
    if wide.any():
        hashes = np.where(wide[text], _runs(folded.chars, _RUN_OF_WIDE), hashes)
    inside = left >= np.where(wide, _RUN_OF_WIDE, _RUN)[text]
    return text[inside], hashes[inside]


def _runs(chars: Values, length: int) -> Values:
    """A hash of the run that begins at each character; of the last few, which are too short, nothing of meaning."""
    hashes = np.zeros(len(chars), np.uint32)
    for offset in range(length):
        hashes *= np.uint32(0x01000193)
        following = chars[offset:]
        hashes[: len(following)] ^= following
    # "lowbias32" by Chris Wellons: every bit of the input changes half of the output's.
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        hashes ^= hashes >> np.uint32(shift)
        hashes *= np.uint32(factor)
    hashes ^= hashes >> np.uint32(16)
    return hashes
