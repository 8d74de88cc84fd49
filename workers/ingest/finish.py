"""The last pass: staged rows, now with their row number, split and label, become data.parquet."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from workers.contracts.job import SPLITS
from workers.contracts.manifest import IngestResult
from workers.ingest import findings, parquet_out
from workers.ingest.ahead import ahead
from workers.ingest.context import READ_SHARE, Import
from workers.ingest.hashing import ColumnsHash
from workers.ingest.label_sets import LabelSet
from workers.ingest.parquet_out import GROUP, GroupWriter
from workers.ingest.splits import Codes, Ints
from workers.ingest.stage import Stage

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
    labels: Labels,
    *,
    keep: Mask | None = None,
    groups: pa.Array | None = None,
    what: str = "rows",
) -> Written:
    """Write the staged rows that are kept, in order, and tell how far it is.

    `codes`, `labels` and `groups` (of rows that are nearly the same, where there are any) are those of the kept rows.
    One row group is in memory at a time.
    """
    if groups is not None:
        schema = schema.append(GROUP)
    content = ColumnsHash()
    content.add("split", codes)
    content.add("label", labels.codes.astype(np.int32, copy=False))
    content.add_names("label", pl.Series(labels.names, dtype=pl.String))
    with GroupWriter(ctx.data, schema) as writer:
        for group, fraction in ahead(_complete(ctx.staged, codes, labels, keep, groups, content)):
            writer.add_group(group)
            ctx.progress.report(READ_SHARE + (1 - READ_SHARE) * fraction, f"Writing {what}")
    return Written(len(codes), per_split(codes), content.hexdigest())


def per_split(codes: Codes) -> dict[str, int]:
    """How many rows each split has; a count of bins would take eight bytes a row for a moment."""
    return {name: int(np.count_nonzero(codes == code)) for code, name in enumerate(SPLITS)}


def _complete(
    staged: Stage,
    codes: Codes,
    labels: Labels,
    keep: Mask | None,
    groups: pa.Array | None,
    content: ColumnsHash,
) -> Iterator[tuple[pa.Table, float]]:
    """The kept rows, group by group, with all their columns, and which share of all rows that makes so far. All is
    hashed on the way."""
    names, splits = pa.array(labels.names, pa.string()), pa.array(SPLITS)
    sets = None if labels.sets is None else pa.array(labels.sets, pa.list_(pa.string()))
    read = row = 0
    for group in staged.groups():
        here = slice(read, read + group.num_rows)
        read += group.num_rows
        if keep is not None and not keep[here].all():
            group = group.filter(pa.array(keep[here]))
        until = row + group.num_rows
        group = _set(group, "row", pa.array(np.arange(row, until)))
        group = _set(group, "split", splits.take(pa.array(codes[row:until])))
        places = pa.array(labels.codes[row:until])
        group = _set(group, "label", names.take(places))
        if sets is not None:
            group = _set(group, "labels", sets.take(places))
        if groups is not None:
            group = _set(group, GROUP.name, groups[row:until].cast(pa.string()))
        for name, cells in parquet_out.contents(group):
            content.add_texts(name, cells)
        row = until
        yield group, read / len(staged)


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
