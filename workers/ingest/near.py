"""Items that are nearly the same: what is told of them, and which of them stay together in one split."""

from functools import partial
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from workers.contracts.job import SPLITS
from workers.ingest import duplicates, near_texts
from workers.ingest.coding import LineNumbers
from workers.ingest.context import READ_SHARE, Import
from workers.ingest.hashing import Hashes
from workers.ingest.issues import Severity
from workers.ingest.splits import Codes, Ints

# Larger groups are made by a template: kept together they would leave too little for the other splits.
_LARGEST_SHARE: Final = 0.02
_LARGEST_ANYHOW: Final = 10


class Rows(NamedTuple):
    """What is told of rows: hash, label, split, line of each, and the names of the labels."""

    hashes: Hashes
    labels: Ints
    splits: Codes
    lines: LineNumbers
    names: list[str]


def of_texts(ctx: Import, hashes: Hashes, columns: list[str]) -> Ints | None:
    """int64 [rows]: the first row of each staged text's group of nearly the same; of a text like no other its own.
    Of pairs, whose texts are in two `columns`, both count as one text.

    None where none are to be compared.
    """
    if not ctx.limits.max_compared:
        return None
    _, firsts = np.unique(hashes, return_index=True)
    firsts = looked_at(ctx, firsts)
    looked = np.zeros(len(hashes), np.bool_)
    looked[firsts] = True
    groups = partial(ctx.staged.groups, columns)
    return alike(hashes, near_texts.find(groups, looked, lambda share: progress(ctx, share)))


def looked_at(ctx: Import, firsts: Ints) -> Ints:
    """Which of the different items are compared: as many as the limit allows; that there are more is told."""
    most = ctx.limits.max_compared
    if len(firsts) > most:
        value = f"the first {most:,} of {len(firsts):,} different items"
        ctx.issues.add("near_duplicates_partly", "info", line=1, value=value)
    return np.sort(firsts)[:most]


def progress(ctx: Import, share: float) -> None:
    """Reading is over; how long comparing takes depends on what is found."""
    ctx.progress.report(READ_SHARE, f"Looking for near-duplicates, {share:.0%}")


def alike(hashes: Hashes, first: Ints) -> Ints:
    """The groups of all rows, from those of each content's first row."""
    _, firsts, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    return first[firsts[inverse]]


def kept_together(first: Ints, hashes: Hashes) -> Ints:
    """The groups that are to be in one split, as the first row of each row's; other rows go by their own content."""
    sizes = np.bincount(first, minlength=len(first))
    largest = max(_LARGEST_ANYHOW, int(_LARGEST_SHARE * len(first)))
    return np.where(sizes[first] > largest, alike(hashes, np.arange(len(first))), first)


def tell(ctx: Import, rows: Rows, first: Ints, column: str, places: Ints | None = None) -> None:
    """Tell which items are nearly the same, have different labels all the same, or are in several splits.

    `column` shows an item; `places`: where each is staged, if not at its own place.
    """
    other = np.flatnonzero(rows.hashes != rows.hashes[first])
    if not len(other):
        return
    exact = duplicates.find(rows.hashes, rows.labels, rows.splits, 0)
    members = np.flatnonzero(np.isin(first, first[other]))
    judged = np.setdiff1d(members, exact.conflicting)
    groups = first.astype(np.uint64)
    conflicting = judged[duplicates.find(groups[judged], rows.labels[judged], None, 0).conflicting]
    straddling = members[duplicates.find(groups[members], rows.labels[members], rows.splits[members], 0).straddling]
    straddling = np.setdiff1d(straddling, exact.straddling)
    told: tuple[tuple[str, Ints, Severity], ...] = (
        ("near_duplicate", other, "info"),
        ("near_duplicate_conflict", conflicting, "warning"),
        ("near_duplicate_across_splits", straddling, "warning"),
    )
    examples = [(code, *pair) for code, found, _ in told for pair in _examples(ctx, code, found, rows, first)]
    at = {row: row if places is None else int(places[row]) for _, *pair in examples for row in pair}
    cells = ctx.staged.cells(column, set(at.values()))
    severities = {code: severity for code, _, severity in told}
    for code, earlier, later in examples:
        value = f"{_like(code, rows, earlier, later)}: {cells[at[later]][:150]}"
        ctx.issues.add(code, severities[code], line=int(rows.lines[later]), value=value, count=0)
    for code, found, severity in told:
        if len(found):
            ctx.issues.add(code, severity, count=len(found))
            ctx.findings.extend(found, code)


def _examples(ctx: Import, code: str, found: Ints, rows: Rows, first: Ints) -> list[tuple[int, int]]:
    """A few rows, each after the row of its group that it differs from."""
    pairs: list[tuple[int, int]] = []
    # The first of a group has none before it; more than these are not asked.
    for row in found[:100].tolist():
        differs = {
            "near_duplicate": rows.hashes != rows.hashes[row],
            "near_duplicate_conflict": rows.labels != rows.labels[row],
            "near_duplicate_across_splits": rows.splits > rows.splits[row],
        }[code]
        others = np.flatnonzero((first == first[row]) & differs)
        if len(others) and (others[0] < row or code == "near_duplicate_across_splits"):
            pairs.append((int(others[0]), row))
        if len(pairs) == ctx.limits.max_examples_per_issue:
            break
    return pairs


def _like(code: str, rows: Rows, earlier: int, later: int) -> str:
    """How a row resembles an earlier one: "like line 3 (spam), but ham"."""
    line = f"like line {rows.lines[earlier]}"
    if code == "near_duplicate_conflict":
        return f"{line} ({rows.names[rows.labels[earlier]]}), but {rows.names[rows.labels[later]]}"
    if code == "near_duplicate_across_splits":
        return f"{line} in {SPLITS[rows.splits[earlier]]}, but in {SPLITS[rows.splits[later]]}"
    return line


def column(first: Ints, hashes: Hashes) -> pa.Array | None:
    """`group` of data.parquet: a name that the rows of a group have in common, null for a row like no other; None where
    there are no groups."""
    grouped = np.isin(first, first[hashes != hashes[first]])
    if not grouped.any():
        return None
    leaders, codes = np.unique(first, return_inverse=True)
    names = pa.array([f"{name:016x}" for name in hashes[leaders].tolist()])
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=~grouped), names)
