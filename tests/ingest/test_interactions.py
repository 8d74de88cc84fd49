"""Interactions that do not fit into one block, one part that is sorted, or one number per row."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.importing import as_csv, import_file, import_files
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


def _dated(*cells: str) -> str:
    rows = [(f"u{n % 5}", f"i{n % 7}", cells[min(n, len(cells) - 1)]) for n in range(35)]
    return as_csv(rows, header=("user", "item", "date"))


DAY = 86_400
JANUARY = 1_704_067_200  # 2024-01-01


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (("1/2/2024", "3/14/2024"), JANUARY + DAY),
        (("1/2/2024", "14/3/2024"), JANUARY + 31 * DAY),
        (("01-02-2024", "14-03-2024 10:00"), JANUARY + 31 * DAY),
        (("1/2/2024 2:05 PM", "3/14/2024 12:00 AM"), JANUARY + DAY + 14 * 3600 + 300),
        (("1/2/2024 12:30 am", "3/14/2024 12:00 AM"), JANUARY + DAY + 30 * 60),
    ],
)
def test_dates_with_slashes_are_read_as_one_of_them_tells(tmp_path: Path, cells: tuple[str, ...], first: int) -> None:
    done = import_file(tmp_path, _dated(*cells), "recommendation")
    assert done.result.mapping["timestamp"] == "date" and done.rejected == []
    assert done.rows[0]["timestamp"] == first and "date_ambiguous" not in done.codes()


def test_a_row_far_down_tells_which_of_day_and_month_comes_first(tmp_path: Path) -> None:
    rows = [(f"u{n % 50}", f"i{n}", "2/3/2024") for n in range(3000)] + [("u1", "i9999", "25/3/2024")]
    source = as_csv(rows, header=("user", "item", "date"))
    files = {"a.csv": source.encode(), "b.csv": as_csv(rows[:5], header=("user", "item", "date")).encode()}
    found = import_file(tmp_path, source, "recommendation")
    assert found.rejected == [] and found.rows[0]["timestamp"] == JANUARY + 61 * DAY
    found = import_files(tmp_path, files, "recommendation")
    assert found.rejected == [] and found.rows[0]["timestamp"] == JANUARY + 61 * DAY
    assert [one["name"] for one in found.result.profile["files"]] == ["a.csv", "b.csv"]


def test_dates_that_no_row_tells_are_taken_month_first_and_that_is_told(tmp_path: Path) -> None:
    done = import_file(tmp_path, _dated("1/2/2024", "3/4/2024"), "recommendation")
    assert done.rows[0]["timestamp"] == JANUARY + DAY
    assert done.issue("date_ambiguous")["examples"][0]["value"] == "date: 1/2/2024"
    # A row that contradicts the others is one that cannot be read.
    mixed = import_file(tmp_path, _dated("3/14/2024", "14/3/2024", "3/15/2024"), "recommendation")
    assert [row["code"] for row in mixed.rejected] == ["timestamp_invalid"]
