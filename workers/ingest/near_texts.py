"""Texts that are nearly the same: found by MinHash and locality-sensitive hashing, then compared in full.

Every text becomes a signature of 64 bytes: by one permutation of its shingles with densified bins (Li, Owen, Zhang
2012, "One permutation hashing"; Shrivastava 2017, "Optimal densification for fast and accurate minwise hashing"), of
each minimum a byte (Li and König 2010, "b-bit minwise hashing"). Texts that agree in one of 16 bands of four bytes are
candidates (Broder 1997; Leskovec, Rajaraman, Ullman, "Mining of massive datasets", 3.4). Of candidates the true
Jaccard similarity of their shingles decides, along forests of the likeliest pairs, so that a thousand copies of one
text cost a thousand comparisons and not half a million.

In memory: about 100 bytes per text, and while comparing the shingles of at most 20 million characters.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.ingest.shingles import Ints, Values, batches, fold, shingles, whole

# Texts whose shingles agree to this share of all that occur in either are nearly the same.
SIMILAR: Final = 0.8
# Shorter texts are compared only for being equal when folded: one other word makes another sentence of them.
_LEAST: Final = 37
_LEAST_OF_WIDE: Final = 19
_BINS: Final = 64
_BANDS: Final = 16
# A signature's agreement is off by a tenth or two where a text is short.
_LIKELY: Final = 0.6
_MOST_PAIRS: Final = 4_000_000
_ROUNDS: Final = 8
_BLOCK_CHARS: Final = 20_000_000
_EMPTY: Final = np.uint32(0xFFFFFFFF)
Signatures = npt.NDArray[np.uint8]
Progress = Callable[[float], None]
# Gives all rows, some at a time, whenever it is asked: tables whose columns are joined to one text a row.
Groups = Callable[[], Iterable[pa.Table]]


class _Sketches(NamedTuple):
    """Of the texts that were looked at: their rows, sorted; a hash of each folded text (0: nothing is left of it);
    which are long enough to be compared; signatures; and how many characters each has."""

    rows: Ints
    whole: npt.NDArray[np.uint64]
    long: npt.NDArray[np.bool_]
    signatures: Signatures
    chars: Ints


class _Texts(NamedTuple):
    """Texts that can be read again: all groups, which rows these are, and how many characters each has."""

    groups: Groups
    rows: Ints
    chars: Ints


def find(groups: Groups, looked: npt.NDArray[np.bool_], progress: Progress) -> Ints:
    """int64 [rows]: the first row of each row's group; a row like no other is its own.

    `looked`: which rows to compare. `progress` is told the share that is done.
    """
    found = np.arange(len(looked), dtype=np.int64)
    sketches = _sketch(groups, looked, lambda share: progress(0.5 * share))
    if not len(sketches.rows):
        return found
    # Texts that are equal when folded are one from here on: its first row stands for them.
    _, firsts, inverse = np.unique(sketches.whole, return_index=True, return_inverse=True)
    leader = firsts[inverse]
    leader = np.where(sketches.whole == 0, np.arange(len(leader)), leader)
    different = np.flatnonzero((leader == np.arange(len(leader))) & sketches.long)
    pairs = _candidates(sketches.signatures[different])
    progress(0.6)
    weights = _agreement(sketches.signatures[different], *pairs.T)
    texts = _Texts(groups, sketches.rows[different], sketches.chars[different])
    linked = _linked(texts, pairs, weights, lambda share: progress(0.6 + 0.4 * share))
    leader[different] = different[linked]
    found[sketches.rows] = sketches.rows[leader[leader]]
    return found


def _sketch(groups: Groups, looked: npt.NDArray[np.bool_], progress: Progress) -> _Sketches:
    parts: list[_Sketches] = []
    row = 0
    for group in groups():
        here = np.flatnonzero(looked[row : row + group.num_rows])
        texts = _joined(group, here)
        for start, part in batches(texts):
            folded = fold(part)
            least = np.where(folded.wide, _LEAST_OF_WIDE, _LEAST)
            hashes = np.where(folded.lengths > 0, whole(folded), np.uint64(0))
            rows = row + here[start : start + len(part)]
            signatures = _signatures(len(part), *shingles(folded))
            parts.append(_Sketches(rows, hashes, folded.lengths >= least, signatures, folded.lengths))
        row += group.num_rows
        progress(row / len(looked))
    if not parts:
        empty = np.empty(0, np.int64)
        return _Sketches(empty, empty.astype(np.uint64), empty.astype(np.bool_), np.empty((0, _BINS), np.uint8), empty)
    return _Sketches(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _joined(group: pa.Table, rows: Ints) -> list[str]:
    """Some texts of a row group; of several columns one text."""
    columns = [column.to_pylist() for column in group.take(rows).columns]
    return columns[0] if len(columns) == 1 else ["\n".join(texts) for texts in zip(*columns, strict=True)]


def _signatures(texts: int, text: Ints, hashes: Values) -> Signatures:
    """uint8 [texts, 64]: the least hash of each bin, which its first six bits choose; empty bins take another's."""
    table = np.full((texts, _BINS), _EMPTY, np.uint32)
    np.minimum.at(table.reshape(-1), text * _BINS + (hashes >> np.uint32(26)), hashes)
    empty = table == _EMPTY
    empty[empty.all(axis=1)] = False
    filled = ~empty
    row, place = np.nonzero(empty)
    donors = np.random.default_rng(0).integers(0, _BINS, (256, _BINS))
    for donor in donors:
        if not len(row):
            break
        has = filled[row, donor[place]]
        table[row[has], place[has]] = table[row[has], donor[place[has]]]
        row, place = row[~has], place[~has]
    return (table * np.uint32(0x9E3779B1) >> np.uint32(24)).astype(np.uint8)


def _candidates(signatures: Signatures) -> Ints:
    """int64 [pairs, 2]: pairs of texts that agree in a band and, by all of their signatures, are likely to be similar.

    In a band's runs of equal keys each text is paired with the run's first and the two before it: of many that are all
    alike that is enough to join them, and of others the next band mixes anew.
    """
    count = len(signatures)
    keys = np.ascontiguousarray(signatures).view(np.uint32)
    found = np.empty(0, np.int64)
    for band in range(_BANDS):
        order = np.argsort(keys[:, band], kind="stable")
        ordered = keys[order, band]
        begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if count else order
        first = np.repeat(begins, np.diff(np.append(begins, count)))
        place = np.arange(count)
        pairs = [order[first] * count + order]
        pairs += [order[np.maximum(place - back, 0)] * count + order for back in (1, 2)]
        apart = [place - first >= least for least in (3, 1, 2)]
        fresh = np.concatenate([one[keep] for one, keep in zip(pairs, apart, strict=True)])
        fresh = np.setdiff1d(fresh, found)
        fresh = fresh[_agreement(signatures, fresh // count, fresh % count) >= _LIKELY] if count else fresh
        found = np.union1d(found, fresh)
        if len(found) > _MOST_PAIRS:
            pair = np.stack([found // count, found % count], axis=1)
            found = found[_forest(count, pair, _agreement(signatures, *pair.T))]
    return np.stack([found // max(1, count), found % max(1, count)], axis=1)


def _agreement(signatures: Signatures, first: Ints, second: Ints) -> npt.NDArray[np.float64]:
    """The share of a signature's bytes in which two texts agree."""
    parts = [
        (signatures[first[at : at + 100_000]] == signatures[second[at : at + 100_000]]).mean(axis=1)
        for at in range(0, len(first), 100_000)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _forest(count: int, pairs: Ints, weights: npt.NDArray[np.float64]) -> Ints:
    """Places of the pairs that join all that the pairs join, by the greatest weights."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    graph = coo_array((2 - weights, (pairs[:, 0], pairs[:, 1])), shape=(count, count)).tocsr()
    tree = minimum_spanning_tree(graph).tocoo()
    chosen = tree.coords[0].astype(np.int64) * count + tree.coords[1]
    return np.flatnonzero(np.isin(pairs[:, 0] * count + pairs[:, 1], chosen))


def _linked(texts: _Texts, pairs: Ints, weights: npt.NDArray[np.float64], progress: Progress) -> Ints:
    """int64 [texts]: the first text of each one's group, by the pairs that are similar indeed."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(texts.rows)
    proven = np.empty((0, 2), np.int64)
    part = np.arange(count)
    for turn in range(_ROUNDS):
        between = part[pairs[:, 0]] != part[pairs[:, 1]]
        pairs, weights = pairs[between], weights[between]
        if not len(pairs):
            break
        both = np.concatenate([proven, pairs])
        tree = _forest(count, both, np.concatenate([np.full(len(proven), 1.5), weights]))
        asked = tree[tree >= len(proven)] - len(proven)
        similar = _jaccard(texts, pairs[asked]) >= SIMILAR
        proven = np.concatenate([proven, pairs[asked[similar]]])
        pairs, weights = np.delete(pairs, asked, axis=0), np.delete(weights, asked)
        graph = coo_array((np.ones(len(proven)), (proven[:, 0], proven[:, 1])), shape=(count, count))
        _, part = connected_components(graph, directed=False)
        progress((turn + 1) / _ROUNDS)
    _, firsts, inverse = np.unique(part, return_index=True, return_inverse=True)
    return firsts[inverse]


def _jaccard(texts: _Texts, pairs: Ints) -> npt.NDArray[np.float64]:
    """The similarity of pairs of texts: shingles in both by shingles in either."""
    found = np.empty(len(pairs))
    order = np.argsort(pairs[:, 0], kind="stable")
    start = 0
    while start < len(order):
        # As many pairs as have together no more characters than may be in memory.
        sizes = np.cumsum(texts.chars[pairs[order[start : start + 1_000_000]]].sum(axis=1))
        here = order[start : start + max(1, int(np.searchsorted(sizes, _BLOCK_CHARS, side="right")))]
        involved, places = np.unique(pairs[here], return_inverse=True)
        sets = _sets(texts, texts.rows[involved])
        found[here] = _overlap(*sets, places.reshape(-1, 2))
        start += len(here)
    return found


def _sets(texts: _Texts, rows: Ints) -> tuple[Values, Ints]:
    """The shingles of some rows' texts, sorted and each once, one text after the other, and where each text begins."""
    values: list[Values] = []
    counts: list[Ints] = []
    row = 0
    for group in texts.groups():
        here = rows[(rows >= row) & (rows < row + group.num_rows)] - row
        row += group.num_rows
        for _, part in batches(_joined(group, here)) if len(here) else ():
            text, hashes = shingles(fold(part))
            unique = np.unique((text.astype(np.uint64) << np.uint64(32)) | hashes)
            values.append(unique.astype(np.uint32))
            counts.append(np.bincount((unique >> np.uint64(32)).astype(np.int64), minlength=len(part)))
    return np.concatenate(values), np.concatenate([[0], np.cumsum(np.concatenate(counts))])


def _overlap(values: Values, starts: Ints, pairs: Ints) -> npt.NDArray[np.float64]:
    sizes = np.diff(starts)
    found = np.empty(len(pairs))
    # By so many pairs at a time: their shingles sorted together show what is in both.
    step = max(1, int(2_000_000 / max(1.0, 2 * float(sizes.mean() if len(sizes) else 1))))
    for at in range(0, len(pairs), step):
        here = pairs[at : at + step]
        flat = here.reshape(-1)
        lengths = sizes[flat]
        ends = np.cumsum(lengths)
        place = np.arange(ends[-1]) + np.repeat(starts[flat] - (ends - lengths), lengths)
        pair = np.repeat(np.arange(len(flat)) // 2, lengths).astype(np.uint64)
        keys = np.sort((pair << np.uint64(32)) | values[place])
        both = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
        shared = np.bincount(both.astype(np.int64), minlength=len(here))
        either = sizes[here].sum(axis=1) - shared
        found[at : at + step] = shared / np.maximum(1, either)
    return found
