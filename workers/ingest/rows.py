"""Rows of a version for the row browser: which ones meet conditions, and what is in them.

All but `read_stored` reads the version's index (see workers.ingest.index), only the columns that a condition is about.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import ipc

from workers.ingest.index import CODED, FOLDED, Source, fold, read_small, shown_columns

Numbers = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]
Sort = Literal["", "suspicion"]
_CELL_CHARS: Final = 2000
_THREADS: Final = min(4, os.cpu_count() or 1)
# Batches that are searched in one go.
_SPAN: Final = 8
_pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="rows")


@dataclass(frozen=True, slots=True)
class Files:
    """Where the index of a version lies, and what is known of its rows: by the data doctor, by a model."""

    index: Path
    findings: Path | None = None  # row, code
    suspects: Path | None = None  # row, predicted, label_probability, suspicion, suspect


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions on rows; all that are set must hold. Blank is any."""

    q: str = ""  # in the text, the image's name, the user or item, or any cell of a table; see `fold`
    label: str = ""
    split: str = ""
    issue: str = ""  # a code of the data doctor's
    mistakes: bool = False  # the model predicts another label; of several, one of them is suspected
    suspects: bool = False  # the label is suspected to be wrong
    sort: Sort = ""  # as stored, or most suspect first and those that no model has seen last


def find(files: Files, where: Where) -> Numbers:
    """The numbers of the rows that meet the conditions, in the order that is asked for."""
    stored = _Stored.read(files.index, {"label": where.label, "split": where.split, "mistakes": where.mistakes})
    keep = np.ones(sum(stored.lengths), np.bool_)
    for name, value in (("label", where.label), ("split", where.split)):
        if value:
            keep &= np.isin(stored.codes[name], stored.places(name, value), kind="table")
    if where.issue:
        keep &= _found(files.findings, where.issue, len(keep))
    if where.mistakes or where.suspects:
        keep &= _doubted(files.suspects, where, stored, len(keep))
    if where.q:
        _search(files.index, fold(where.q), keep, stored.lengths)
    if not (where.sort and files.suspects):
        return np.flatnonzero(keep)
    ranked = read_small(files.suspects)["row"].to_numpy().astype(np.int64)
    ranked = ranked[keep[ranked]]
    keep[ranked] = False
    return np.concatenate([ranked, np.flatnonzero(keep)])


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the index says of all rows at once."""

    lengths: list[int]  # rows of each batch
    codes: dict[str, npt.NDArray[np.int32]]  # label, split: places in the names
    names: dict[str, list[str]]
    several: bool  # rows have several labels each, which stand in `label` as JSON

    @classmethod
    def read(cls, index: Path, wanted: dict[str, object]) -> "_Stored":
        """The codes only of what is wanted; mistakes are about labels."""
        needed = {"label" if name == "mistakes" else name for name, value in wanted.items() if value}
        with pa.memory_map(str(index)) as file:
            reader = ipc.open_file(file)
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            known = {key.decode(): json.loads(value) for key, value in (reader.schema.metadata or {}).items()}
            codes = {
                name: np.concatenate([batch[f"{name}_code"].to_numpy() for batch in batches])
                for name in needed & set(known)
                if batches
            }
        return cls([batch.num_rows for batch in batches], codes, known, "labels" in reader.schema.names)

    def places(self, name: str, value: str) -> npt.NDArray[np.int32]:
        """Where a value stands in the names; of several labels together, where it is among them."""
        several = self.several and name == "label"
        found = [value in json.loads(known) if several else value == known for known in self.names[name]]
        return np.flatnonzero(found).astype(np.int32)


def _found(findings: Path | None, code: str, rows: int) -> _Mask:
    mask = np.zeros(rows, np.bool_)
    if findings:
        table = read_small(findings)
        mask[table["row"].to_numpy()[_as_mask(pc.equal(table["code"], code))]] = True
    return mask


def _doubted(suspects: Path | None, where: Where, stored: _Stored, rows: int) -> _Mask:
    """Whether a model predicts another label, or suspects the label, of each row."""
    mask = np.zeros(rows, np.bool_)
    if suspects:
        table = read_small(suspects)
        numbers = table["row"].to_numpy()
        doubted = _as_mask(table["suspect"]) if where.suspects else np.ones(len(numbers), np.bool_)
        if where.mistakes:
            names = table["predicted"].dictionary.to_pylist()
            known = {name: place for place, name in enumerate(stored.names["label"])}
            places = np.array([known.get(name, -1) for name in names], np.int32)
            doubted &= places[table["predicted"].indices.to_numpy()] != stored.codes["label"][numbers]
        mask[numbers[doubted]] = True
    return mask


def _as_mask(found: Any) -> _Mask:
    return np.asarray(found.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)


def _search(index: Path, query: str, keep: _Mask, lengths: list[int]) -> None:
    """Clear the rows that do not hold the query."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    alive = [number for number in range(len(lengths)) if keep[starts[number] : starts[number + 1]].any()]
    spans = [alive[first : first + _SPAN] for first in range(0, len(alive), _SPAN)]
    for _ in _pool.map(lambda span: _search_span(index, query, keep, starts, span), spans):
        pass


def _search_span(index: Path, query: str, keep: _Mask, starts: Any, span: list[int]) -> None:
    """A few batches, mapped into memory only while they are searched: what a search holds has a bound."""
    with pa.memory_map(str(index)) as file:
        reader = ipc.open_file(file)
        for number in span:
            texts = pl.Series(values=pl.from_arrow(reader.get_batch(number)[FOLDED]))
            here = keep[starts[number] : starts[number + 1]]  # a view: what is written lands in `keep`
            here[here] = (texts if here.all() else texts.filter(here)).str.contains(query, literal=True).to_numpy()


def read(files: Files, numbers: Numbers) -> list[dict[str, Any]]:
    """What is in some rows, in this order: {column: value}, texts cut at 2,000 characters.

    Where a model has looked at the row, also `predicted`, `label_probability`, `suspicion` and `suspect`; where rows
    have several labels each `predicted` is JSON as `label` is, and `predicted_labels` the list.
    """
    found: dict[int, dict[str, Any]] = {}
    wanted = np.sort(numbers)
    with pa.memory_map(str(files.index)) as file:
        reader = ipc.open_file(file)
        hidden = {FOLDED, *(f"{name}_code" for name in CODED)}
        shown = [name for name in reader.schema.names if name not in hidden]
        start = 0
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
            if low < high:
                here = batch.select(shown).take(pa.array(wanted[low:high] - start))
                found.update(zip(wanted[low:high].tolist(), here.to_pylist(), strict=True))
            start += batch.num_rows
    if files.suspects:
        for row in _opinions(files.suspects, wanted):
            if row["row"] in found:
                found[row["row"]] |= row
                if "labels" in found[row["row"]]:
                    found[row["row"]]["predicted_labels"] = json.loads(row["predicted"])
    return _shorten([found[number] for number in numbers.tolist()])


def read_stored(source: Source, first: int, count: int) -> list[dict[str, Any]]:
    """Rows in the order of data.parquet, out of that itself: only their row groups are read."""
    found: list[dict[str, Any]] = []
    with pq.ParquetFile(source, pre_buffer=False) as file:
        names, start = shown_columns(file.schema_arrow), 0
        for index in range(file.metadata.num_row_groups):
            end = start + file.metadata.row_group(index).num_rows
            here, until = max(first, start), min(first + count, end)
            if here < until:
                table = file.read_row_group(index, columns=names, use_threads=False)
                found += table.slice(here - start, until - here).to_pylist()
            start = end
    return _shorten(found)


def _opinions(suspects: Path, wanted: Numbers) -> list[dict[str, Any]]:
    table = read_small(suspects)
    here = np.flatnonzero(np.isin(table["row"].to_numpy(), wanted.astype(np.int32), kind="table"))
    names = ["row", "predicted", "label_probability", "suspicion", "suspect"]
    return list(table.select(names).take(pa.array(here)).to_pylist())


def counts(findings: Path) -> dict[str, int]:
    """How many rows have a finding of each code, most first."""
    found = read_small(findings)["code"].value_counts().to_pylist()
    return {str(one["values"]): one["counts"] for one in sorted(found, key=lambda one: -one["counts"])}


def _shorten(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        for name, value in row.items():
            if isinstance(value, dict):
                _shorten([value])
            if isinstance(value, str) and len(value) > _CELL_CHARS:
                row[name] = value[:_CELL_CHARS] + "…"
    return rows
