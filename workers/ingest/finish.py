"""The last pass: staged rows, now with their row number, split and label, become data.parquet."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.contracts.job import SPLITS
from workers.ingest.hashing import ContentHash
from workers.ingest.parquet_out import GroupWriter, groups
from workers.ingest.splits import Codes, Ints

Mask = npt.NDArray[np.bool_]


class Labels(NamedTuple):
    """Labels as places in a list of names, one per written row."""

    names: list[str]
    codes: Ints


class Written(NamedTuple):
    """Facts about data.parquet."""

    rows: int
    splits: dict[str, int]
    content_hash: str


def write(
    source: Path,
    target: Path,
    schema: pa.Schema,
    codes: Codes,
    *,
    keep: Mask | None = None,
    labels: Labels | None = None,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Written:
    """Write the rows of `source` that are kept, in order. `codes` and `labels` are those of the kept rows.

    `on_rows` hears how many rows of `source` have been read. One row group is in memory at a time.
    """
    content = ContentHash()
    read = row = 0
    with GroupWriter(target, schema) as writer:
        for group in groups(source):
            here = slice(read, read + group.num_rows)
            read += group.num_rows
            if keep is not None:
                group = group.filter(pa.array(keep[here]))
            until = row + group.num_rows
            split = pa.array(SPLITS).take(pa.array(codes[row:until]))
            group = _set(group, "row", pa.array(np.arange(row, until)))
            group = _set(group, "split", split)
            if labels:
                group = _set(
                    group, "label", pa.array(labels.names, pa.string()).take(pa.array(labels.codes[row:until]))
                )
            writer.add_group(group)
            content.add(group["hash"].to_pylist(), split.to_pylist(), _values(group))
            row = until
            on_rows(read)
    counts = np.bincount(codes, minlength=len(SPLITS))
    return Written(row, {name: int(counts[code]) for code, name in enumerate(SPLITS)}, content.hexdigest())


def _set(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.append_column(name, values) if place < 0 else table.set_column(place, name, values)


def _values(table: pa.Table) -> list[str]:
    """What training sees of each row beside the item itself, which the hash stands for."""
    names = [name for name in ("label", "rating", "timestamp") if name in table.schema.names]
    if names == ["label"]:
        return list(table["label"].to_pylist())
    columns = [table[name].to_pylist() for name in names]
    return ["|".join(map(str, row)) for row in zip(*columns, strict=True)] if columns else [""] * table.num_rows
