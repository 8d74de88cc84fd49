"""Interactions that do not fit into one block, one part that is sorted, or one number per row."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.importing import as_csv, import_file
from workers.ingest import pairs, parts, sorting
from workers.ingest.numbering import Numbering

# Small numbers, and some that fill a word alone.
_NUMBERS = st.one_of(st.integers(-3, 3), st.integers(-(2**40), 2**40), st.integers(-(2**62), 2**62))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_NUMBERS, st.integers(-2, 2), _NUMBERS), min_size=1, max_size=30))
def test_rows_are_in_the_stable_order_of_their_keys(rows: list[tuple[int, int, int]]) -> None:
    keys = [np.array(column, np.int64) for column in zip(*rows, strict=True)]
    assert sorting.order(*keys).tolist() == sorted(range(len(rows)), key=lambda row: rows[row])
    assert sorting.repeated(*keys).tolist() == [row for row, one in enumerate(rows) if rows.count(one) > 1]


# Many that are looked for in the same slot, the last one among them.
_HASHES = st.one_of(st.integers(0, 5), st.integers(2**64 - 5, 2**64 - 1), st.integers(0, 2**64 - 1))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(_HASHES, max_size=40), max_size=6))
def test_hashes_are_numbered_as_they_appear(blocks: list[list[int]]) -> None:
    numbering = Numbering(bits=2)
    known: dict[int, int] = {}
    for block in blocks:
        numbers, fresh = numbering.numbers(np.array(block, np.uint64))
        firsts = [row for row, one in enumerate(block) if one not in known and one not in block[:row]]
        assert fresh.tolist() == firsts
        assert numbers.tolist() == [known.setdefault(one, len(known)) for one in block]


@pytest.mark.parametrize("given_splits", [False, True])
@pytest.mark.parametrize("with_times", [False, True])
def test_parts_make_the_same_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_times: bool, given_splits: bool
) -> None:
    draw = np.random.default_rng(0)
    header = ["user", "item", "rating", *(["time"] if with_times else []), *(["split"] if given_splits else [])]
    rows: list[tuple[str, ...]] = []
    for line in range(900):
        cells = [f"u{draw.integers(40)}", f"i{draw.integers(30)}", str(line)]
        cells += [str(1_600_000_000 + int(draw.integers(50)))] if with_times else []
        rows.append((*cells, *([["train", "test", "dev"][int(draw.integers(3))]] if given_splits else [])))
    whole = import_file(tmp_path, as_csv(rows, header=tuple(header)), "recommendation")
    monkeypatch.setattr(pairs, "BLOCK", 64)
    monkeypatch.setattr(parts, "ROWS", 100)
    monkeypatch.setattr(parts, "STRETCH", 150)
    parted = import_file(tmp_path, as_csv(rows, header=tuple(header)), "recommendation")
    assert parted.rows == whole.rows and parted.result.content_hash == whole.result.content_hash
    assert parted.findings == whole.findings and parted.result.profile == whole.result.profile
    occurrences = defaultdict(list)
    for line, row in enumerate(rows):
        trains = given_splits and row[-1] == "train"
        when = int(row[3]) if with_times else 0
        rank = {"train": 0, "validation": 1, "test": 2}[row[-1].replace("dev", "validation")] if given_splits else 0
        occurrences[row[:2]].append((trains, -rank, when, line))
    lasts = sorted(max(found)[-1] for found in occurrences.values())
    assert [int(row["rating"]) for row in whole.rows] == lasts
