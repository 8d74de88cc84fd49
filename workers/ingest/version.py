"""An earlier version as arrays: what repairs and differences are computed from. Of images only a few are ever read.

Per row 8 bytes of hash, 8 of label and 1 of split, whatever the row holds.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.contracts.job import SPLITS
from workers.ingest import hashing, label_sets
from workers.ingest.hashing import Hashes
from workers.ingest.label_sets import LabelSet
from workers.ingest.splits import Codes, Ints

Source = str | Path | BinaryIO
Mask = npt.NDArray[np.bool_]
_HEX = 32


class Version(AbstractContextManager["Version"]):
    """data.parquet of a version, perhaps with the doctor's findings and the model's suspects beside it."""

    def __init__(self, data: Source, findings: Source | None = None, suspects: Source | None = None) -> None:
        self._file = pq.ParquetFile(data, pre_buffer=False)
        self._findings = findings
        self._suspects = suspects
        self.rows: int = self._file.metadata.num_rows
        self.schema: pa.Schema = self._file.schema_arrow

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @cached_property
    def hashes(self) -> Hashes:
        """uint64 of each row's item; of interactions of user and item."""
        if "hash" not in self.schema.names:
            coded = ((role, *self.coded(role)) for role in ("user", "item"))
            digests = (hashing.of_names(pl.Series(names, dtype=pl.String), role)[codes] for role, names, codes in coded)
            return hashing.of_pairs(*digests)
        if self.schema.field("hash").type == pa.uint64():
            return self.numbers("hash").astype(np.uint64)
        if "image" in self.schema.names:
            return np.concatenate(
                [_short(group["hash"]) for group in self.groups(["hash"])] or [np.empty(0, np.uint64)]
            )
        # Texts and tables of versions that were made when digests were others.
        return np.concatenate([hashing.of_rows(rows) for rows in self._contents()] or [np.empty(0, np.uint64)])

    @cached_property
    def items(self) -> Ints:
        """Of each row a number, the same for rows of the same item."""
        items = np.unique(self.hashes, return_inverse=True)[1].astype(np.int64)
        again = (np.bincount(items) > 1)[items]
        if {"text", "values"}.isdisjoint(self.schema.names) or not again.any():
            return items
        # Texts can be made that have the same hash: those that occur again are compared by another one too.
        seconds, start = np.zeros(self.rows, np.uint64), 0
        for rows in self._contents():
            here = slice(start, start + len(rows))
            seconds[here][again[here]] = hashing.safe_of_rows(rows.filter(pl.Series(again[here])))
            start += len(rows)
        places = np.unique(seconds, return_inverse=True)[1]
        together: Ints = np.unique(items * self.rows + places, return_inverse=True)[1].astype(np.int64)
        return together

    def _contents(self) -> Iterator[pl.DataFrame]:
        columns = [name for name in ("text", "text_pair", "values") if name in self.schema.names]
        return (pl.DataFrame(pl.from_arrow(group)) for group in self.groups(columns))

    @cached_property
    def labels(self) -> tuple[list[str], Ints]:
        """The labels, and of each row the place of its own."""
        return self.coded("label")

    @property
    def is_multi_label(self) -> bool:
        """Whether each row has several labels, or none: `labels` are sets of them, as JSON."""
        return "labels" in self.schema.names

    @cached_property
    def classes(self) -> dict[str, int]:
        """Label → rows that have it."""
        names, codes = self.labels
        counts: Counter[str] = Counter()
        for name, count in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True):
            counts.update(dict.fromkeys(self.labels_in(name), count))
        return dict(counts)

    def labels_in(self, label: str) -> LabelSet:
        """The labels that a stored `label` stands for: itself, or those of a set."""
        return label_sets.read(label) or () if self.is_multi_label else (label,)

    @cached_property
    def splits(self) -> Codes:
        """Of each row the place of its split in SPLITS."""
        names, codes = self.coded("split")
        return np.array([SPLITS.index(name) for name in names], np.int8)[codes]

    def coded(self, column: str) -> tuple[list[str], Ints]:
        """The different values of a column of text, in order of appearance, and of each row the place of its own."""
        places: dict[str, int] = {}
        parts: list[Ints] = []
        for group in self.groups([column]):
            for chunk in group[column].chunks:
                coded = chunk.dictionary_encode()
                names = coded.dictionary.to_pylist()
                known = np.array([places.setdefault(name, len(places)) for name in names], np.int64)
                parts.append(known[coded.indices.to_numpy()])
        return list(places), np.concatenate(parts or [np.empty(0, np.int64)])

    def numbers(self, column: str) -> npt.NDArray[Any]:
        """A column of numbers."""
        return np.concatenate([group[column].to_numpy() for group in self.groups([column])] or [np.empty(0)])

    def found(self, code: str) -> Ints:
        """The rows that the doctor found something at, in order."""
        return self._rows_of(self._findings, "code", code)

    def suspects(self) -> dict[int, str]:
        """Row → label that a model would give it (of several, all of them as JSON), where its own is suspected."""
        if self._suspects is None:
            return {}
        table = pq.read_table(self._suspects, columns=["row", "predicted", "suspect"], use_threads=False)
        table = table.filter(table["suspect"])
        return dict(zip(table["row"].to_pylist(), table["predicted"].to_pylist(), strict=True))

    def groups(self, columns: list[str]) -> Iterator[pa.Table]:
        """The row groups, of these columns only."""
        for index in range(self._file.metadata.num_row_groups):
            yield self._file.read_row_group(index, columns=columns, use_threads=False)

    def batches(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """All rows of some columns, so many at a time."""
        yield from self._file.iter_batches(rows, columns=columns, use_threads=False)

    def at(self, rows: list[int], columns: list[str]) -> list[dict[str, Any]]:
        """Some rows, in the order asked for; only their row groups are read."""
        wanted, start = np.array(sorted(set(rows)), np.int64), 0
        found: dict[int, dict[str, Any]] = {}
        for index in range(self._file.metadata.num_row_groups):
            end = start + self._file.metadata.row_group(index).num_rows
            here = wanted[(wanted >= start) & (wanted < end)]
            if len(here):
                group = self._file.read_row_group(index, columns=columns, use_threads=False)
                found.update(zip(here.tolist(), group.take(pa.array(here - start)).to_pylist(), strict=True))
            start = end
        return [found[row] for row in rows]

    @staticmethod
    def _rows_of(source: Source | None, column: str, value: str) -> Ints:
        if source is None:
            return np.empty(0, np.int64)
        table = pq.read_table(source, columns=["row", column], use_threads=False)
        found = table.filter(pc.equal(pc.cast(table[column], pa.string()), value))["row"]
        return np.sort(found.to_numpy().astype(np.int64))


def count_suspects(suspects: Source) -> int:
    """How many rows of a suspects.parquet have a label that is suspected to be wrong."""
    found = pq.read_table(suspects, columns=["suspect"], use_threads=False)["suspect"]
    return int(pc.sum(found).as_py() or 0)


def _short(column: pa.ChunkedArray) -> Hashes:
    """The first 64 bits of hashes in hexadecimal, as workers.ingest.hashing.short gives them."""
    parts = []
    for chunk in column.chunks:
        start = chunk.offset * _HEX
        digits = chunk.buffers()[2].slice(start, len(chunk) * _HEX).to_pybytes()
        parts.append(np.frombuffer(bytes.fromhex(digits.decode()), np.dtype("<u8")).reshape(-1, 2)[:, 0])
    return np.concatenate(parts or [np.empty(0, np.uint64)])
