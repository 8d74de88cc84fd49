"""The last pass: staged rows, now with their row number, split and label, become data.parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contracts.job import SPLITS
from workers.contracts.manifest import IngestResult
from workers.ingest import findings
from workers.ingest.ahead import ahead
from workers.ingest.context import READ_SHARE, Import
from workers.ingest.hashing import ContentHash
from workers.ingest.label_sets import LabelSet
from workers.ingest.parquet_out import GROUP, GroupWriter
from workers.ingest.parquet_out import groups as row_groups
from workers.ingest.splits import Codes, Ints

Mask = npt.NDArray[np.bool_]


class Labels(NamedTuple):
    """Labels as places in a list of names, one per written row; with `sets`, names are those of sets of labels."""

    names: list[str]
    codes: Ints
    sets: list[LabelSet] | None = None


class Written(NamedTuple):
    """Facts about data.parquet."""

    rows: int
    splits: dict[str, int]
    content_hash: str


def write(
    ctx: Import,
    schema: pa.Schema,
    codes: Codes,
    *,
    source: Path | None = None,
    keep: Mask | None = None,
    labels: Labels | None = None,
    groups: pa.Array | None = None,
    what: str = "rows",
) -> Written:
    """Write the staged rows (or those of `source`) that are kept, in order, and tell how far it is.

    `codes`, `labels` and `groups` (of rows that are nearly the same, where there are any) are those of the kept rows.
    One row group is in memory at a time.
    """
    if groups is not None:
        schema = schema.append(GROUP)
    content = ContentHash()
    row = 0
    with GroupWriter(ctx.data, schema) as writer:
        for group, fraction in ahead(_complete(source or ctx.staged, codes, keep, labels, groups)):
            writer.add_group(group)
            content.add(group["hash"], group["split"], _values(group))
            row += group.num_rows
            ctx.progress.report(READ_SHARE + (1 - READ_SHARE) * fraction, f"Writing {what}")
    return Written(row, per_split(codes), content.hexdigest())


def per_split(codes: Codes) -> dict[str, int]:
    """How many rows each split has; a count of bins would take eight bytes a row for a moment."""
    return {name: int(np.count_nonzero(codes == code)) for code, name in enumerate(SPLITS)}


def _complete(
    source: Path, codes: Codes, keep: Mask | None, labels: Labels | None, groups: pa.Array | None
) -> Iterator[tuple[pa.Table, float]]:
    """The kept rows, group by group, with all their columns, and which share of all rows that makes so far."""
    rows = pq.read_metadata(source).num_rows
    read = row = 0
    for group in row_groups(source):
        here = slice(read, read + group.num_rows)
        read += group.num_rows
        if keep is not None and not keep[here].all():
            group = group.filter(pa.array(keep[here]))
        until = row + group.num_rows
        group = _set(group, "row", pa.array(np.arange(row, until)))
        group = _set(group, "split", pa.array(SPLITS).take(pa.array(codes[row:until])))
        if labels:
            places = pa.array(labels.codes[row:until])
            group = _set(group, "label", pa.array(labels.names, pa.string()).take(places))
            if labels.sets is not None:
                group = _set(group, "labels", pa.array(labels.sets, pa.list_(pa.string())).take(places))
        if groups is not None:
            group = _set(group, GROUP.name, groups[row:until].cast(pa.string()))
        row = until
        yield group, read / rows


def result(
    ctx: Import,
    written: Written,
    *,
    columns: list[dict[str, str]],
    mapping: dict[str, str],
    profile: dict[str, Any],
    classes: dict[str, int] | None = None,
) -> IngestResult:
    """What the job tells of a data.parquet; beside it findings.parquet, where there are any."""
    ctx.findings.write(ctx.job_dir.output / findings.NAME)
    return IngestResult(
        rows=written.rows,
        rejected=ctx.rejected,
        content_hash=written.content_hash,
        columns=columns,
        mapping=mapping,
        classes=classes or {},
        splits=written.splits,
        profile=profile,
        issues=ctx.issues.as_list(),
    )


def _set(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.append_column(name, values) if place < 0 else table.set_column(place, name, values)


def _values(table: pa.Table) -> pl.Series:
    """What training sees of each row beside the item itself, which the hash stands for."""
    names = [name for name in ("label", "rating", "timestamp") if name in table.schema.names]
    texts = [_as_text(pl.Series(name, table[name])) for name in names]
    if not texts:
        return pl.repeat("", table.num_rows, eager=True)
    return pl.DataFrame(texts).select(pl.concat_str(pl.all(), separator="|")).to_series()


def _as_text(column: pl.Series) -> pl.Series:
    """Values as Python writes them; other languages write floats otherwise."""
    if not column.dtype.is_float():
        return column.cast(pl.String)
    found, places = np.unique(column.to_numpy(), return_inverse=True)
    return pl.Series(column.name, list(map(str, found.astype(np.float64).tolist())), pl.String).gather(places)
