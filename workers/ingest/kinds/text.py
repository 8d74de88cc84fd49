"""Text classification: rows of text and label, or of two texts and label."""

from array import array
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import columns, guard, hashing, items, label_sets, near, reading, text_lengths
from workers.ingest.context import Import
from workers.ingest.parquet_out import column_types, text_schema
from workers.ingest.records import Problem, Table
from workers.ingest.statistics import summary
from workers.ingest.text_doctor import NEEDS, TextDoctor

# The texts of a row, by their roles.
_TEXTS = ("text", "text_pair")
_BLANK = f"^[{hashing.SPACES}]*$"
# Most texts have nothing of all this; one pass finds those that deserve a closer look.
_REMARKABLE = "|".join(("^$", hashing.UNUSUAL, NEEDS))


def run(ctx: Import, table: Table) -> IngestResult:
    """Import a table. Raises JobError."""
    mapping = columns.resolve("text", table.columns, table.head, ctx.spec.mapping)
    read = columns.roles(mapping)
    table.narrow(list(read.values()))
    ctx.open_rejects(table.columns)
    kept = items.Items()
    texts = {role: mapping[role] for role in _TEXTS if role in mapping}
    lengths = {role: array("I") for role in texts}
    doctor = TextDoctor(ctx.issues, ctx.findings)
    separator = _separator(ctx, table, mapping)
    _read(ctx, table, read, separator, kept, lengths, doctor)
    guard.give_back_memory()
    if ctx.several is None and not mapping.get(label_sets.OPTION):
        kept.check_lists(separator is not None, ctx.issues.count("label_list"))
    concluded = doctor.conclude()
    items.check(ctx, kept)
    characters = {role: np.frombuffer(found, np.uint32) for role, found in lengths.items()}
    text_lengths.tell(ctx, characters, kept.lines, texts)
    about = {"format": table.format, **table.facts, **concluded}
    about |= {f"{role}_length": summary(found) for role, found in characters.items()}
    schema = text_schema(pairs="text_pair" in texts)
    types = column_types(schema)
    first = near.of_texts(ctx, kept.hashes, list(texts))
    return items.write(ctx, kept, schema, shown="text", columns=types, mapping=mapping, profile=about, first=first)


def _separator(ctx: Import, table: Table, mapping: dict[str, str]) -> str | None:
    """What parts several labels of a row ("": only lists hold several); None where a row has one label."""
    asked = mapping.get(label_sets.OPTION, "")
    if asked or ctx.several is not None:
        return asked if asked or ctx.several else None
    place = table.columns.index(mapping["label"])
    return "" if label_sets.hold_lists([fields[place] for fields in table.head]) else None


def _read(
    ctx: Import,
    table: Table,
    mapping: dict[str, str],
    separator: str | None,
    kept: items.Items,
    lengths: "dict[str, array[int]]",
    doctor: TextDoctor,
) -> None:
    unpacked = 0
    schema = pa.schema([("hash", pa.uint64()), *((role, pa.string()) for role in lengths)])
    with ctx.stage(schema) as staged:
        for rows in reading.accepted(ctx, table, partial(_parse, ctx, mapping, separator)):
            remarkable = {role: rows[f"{role} remarkable"].arg_true().to_numpy() for role in lengths}
            of_each = [hashing.of_texts(rows[role], among, role) for role, among in remarkable.items()]
            hashes = of_each[0] if len(of_each) == 1 else hashing.of_pairs(*of_each)
            found = {mapping[role]: (rows[role], among) for role, among in remarkable.items()}
            doctor.look(found, len(kept), rows[reading.LINE].to_numpy())
            kept.extend(hashes, *reading.targets(rows, separator))
            for role, column in lengths.items():
                column.frombytes(rows[f"{role} length"].to_numpy().tobytes())
                unpacked += int(rows[f"{role} length"].sum())
            texts = {role: rows[role].to_arrow() for role in lengths}
            staged.add_table(pa.table({"hash": hashes, **texts}))
            if unpacked > ctx.limits.max_unpacked_bytes:
                raise JobError("archive_too_large", "The file's text unpacks to more than is allowed.")


def _parse(
    ctx: Import, mapping: dict[str, str], separator: str | None, rows: pl.DataFrame, faults: reading.Faults
) -> pl.DataFrame:
    """Texts, of each its length and whether it is remarkable, label and split of rows."""
    found: dict[str, pl.Series] = {}
    for role in _TEXTS:
        if role in mapping:
            found |= _parse_texts(ctx, role, mapping[role], rows[mapping[role]], faults)
    if separator is not None and ctx.spec.mapping.get(label_sets.EMPTY) == label_sets.NONE:
        rows = rows.with_columns(reading.blank_as_none(rows[mapping["label"]]))
    return pl.DataFrame({**found, **reading.target(mapping, rows, faults, separator)})


def _parse_texts(ctx: Import, role: str, column: str, texts: pl.Series, faults: reading.Faults) -> dict[str, pl.Series]:
    remarkable, lengths = texts.str.contains(_REMARKABLE), texts.str.len_chars()
    blank = np.zeros(len(texts), np.bool_)
    blank[remarkable.arg_true().to_numpy()] = texts.filter(remarkable).str.contains(_BLANK).to_numpy()
    faults.add(blank, lambda _: Problem("text_missing", "The text is empty.", column))

    def too_long(row: int) -> Problem:
        message = f"The text has {lengths[row]:,} characters; {ctx.limits.max_field_chars:,} are allowed."
        return Problem("text_too_long", message, column, texts[row])

    faults.add(lengths > ctx.limits.max_field_chars, too_long)
    return {role: texts, f"{role} length": lengths, f"{role} remarkable": remarkable}
