"""Tabular classification: rows of a label and any other columns, kept as they are written."""

from functools import partial

import polars as pl
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import column_types, columns, hashing, items, reading
from workers.ingest.context import Import
from workers.ingest.parquet_out import table_schema
from workers.ingest.records import Problem, Table

MAX_COLUMNS = 1000


def run(ctx: Import, table: Table) -> IngestResult:
    """Import a table. Raises JobError."""
    mapping = columns.resolve("tabular", table.columns, table.head, ctx.spec.mapping)
    names = [name for name in table.columns if name not in mapping.values()]
    if not names:
        raise JobError("column_missing", "There is no column beside the label to learn from.")
    if len(names) > MAX_COLUMNS:
        raise JobError("too_many_columns", evidence=f"{len(names):,} columns; {MAX_COLUMNS:,} are allowed.")
    ctx.open_rejects(table.columns)
    kept = items.Items()
    memories = column_types.remember(len(names))
    _read(ctx, table, mapping, names, kept, memories)
    items.check(ctx, kept)
    judged = _judged(ctx, names, memories, len(kept))
    return items.write(
        ctx,
        kept,
        table_schema([(column.name, column.metadata()) for column in judged]),
        shown="values",
        columns=shown_types(judged),
        mapping=mapping,
        profile={"format": table.format, **table.facts, "columns": [column.profile() for column in judged]},
    )


def _read(
    ctx: Import,
    table: Table,
    mapping: dict[str, str],
    names: list[str],
    kept: items.Items,
    memories: list[column_types.Cells],
) -> None:
    staged_schema = pa.schema([("hash", pa.uint64()), ("values", pa.struct([(name, pa.string()) for name in names]))])
    unpacked = 0
    with ctx.stage(staged_schema) as staged:
        for rows in reading.accepted(ctx, table, partial(_parse, ctx, mapping, names)):
            values = rows["values"].struct.unnest()
            hashes = hashing.of_rows(rows.select("values"))
            kept.extend(hashes, *reading.targets(rows))
            for column, memory in zip(values, memories, strict=True):
                memory.extend(column)
            staged.add_table(pa.table({"hash": hashes, "values": rows["values"].to_arrow()}))
            unpacked += sum(int(column.str.len_chars().sum()) for column in values)
            if unpacked > ctx.limits.max_unpacked_bytes:
                raise JobError("archive_too_large", "The file's cells unpack to more than is allowed.")


def _parse(
    ctx: Import, mapping: dict[str, str], names: list[str], rows: pl.DataFrame, faults: reading.Faults
) -> pl.DataFrame:
    """The values, label and split of rows. Empty cells beside the label are missing values, not problems."""
    target = reading.target(mapping, rows, faults)
    for column in rows:
        lengths = column.str.len_chars()

        def too_long(row: int, column: pl.Series = column, lengths: pl.Series = lengths) -> Problem:
            return Problem("text_too_long", f"A cell has {lengths[row]:,} characters.", value=column[row])

        faults.add(lengths > ctx.limits.max_field_chars, too_long)
    values = rows.select(pl.col(names).str.strip_chars(hashing.WHITE))
    return pl.DataFrame({"values": values.to_struct(), **target})


def _judged(ctx: Import, names: list[str], memories: list[column_types.Cells], rows: int) -> list[column_types.Column]:
    judged = [column_types.judge(name, memory) for name, memory in zip(names, memories, strict=True)]
    column_types.tell(ctx.issues, judged, rows)
    if all(column.type == "ignored" for column in judged):
        evidence = "; ".join(f"{column.name}: {column.reason}" for column in judged[:20])
        raise JobError("column_missing", "No column holds anything to learn from.", evidence=evidence)
    return judged


def shown_types(judged: list[column_types.Column]) -> list[dict[str, str]]:
    """[{"name", "type"}] of what a row of the version holds."""
    kinds = (("row", "integer"), ("split", "text"), ("hash", "integer"), ("label", "text"))
    fixed = [{"name": name, "type": kind} for name, kind in kinds]
    return [*fixed, *({"name": one.name, "type": one.type} for one in judged)]
