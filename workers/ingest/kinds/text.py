"""Text classification: rows of text and label."""

from array import array
from functools import partial

import numpy as np
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import columns, hashing, items, label_sets, reading
from workers.ingest.context import Import
from workers.ingest.parquet_out import TEXT_SCHEMA, GroupWriter, column_types
from workers.ingest.records import Problem, Record, Table
from workers.ingest.statistics import summary
from workers.ingest.text_doctor import TextDoctor

_STAGED = pa.schema([("hash", pa.string()), ("text", pa.string())])


def run(ctx: Import, table: Table) -> IngestResult:
    """Import a table. Raises JobError."""
    mapping = columns.resolve("text", table.columns, table.head, ctx.spec.mapping)
    read = columns.roles(mapping)
    table.narrow(list(read.values()))
    ctx.open_rejects(table.columns)
    kept = items.Items()
    lengths = array("I")
    doctor = TextDoctor(ctx.issues, ctx.findings)
    _read(ctx, table, read, mapping.get(label_sets.OPTION, ""), kept, lengths, doctor)
    doctor.conclude(mapping["text"])
    items.check(ctx, kept)
    about = {"format": table.format, **table.facts, "text_length": summary(np.frombuffer(lengths, np.uint32))}
    types = column_types(TEXT_SCHEMA)
    return items.write(ctx, kept, TEXT_SCHEMA, shown="text", columns=types, mapping=mapping, profile=about)


def _read(
    ctx: Import,
    table: Table,
    mapping: dict[str, str],
    separator: str,
    kept: items.Items,
    lengths: "array[int]",
    doctor: TextDoctor,
) -> None:
    unpacked = 0
    with GroupWriter(ctx.staged, _STAGED) as staged:
        for record, (text, target) in reading.accepted(ctx, table, mapping, partial(_parse, ctx, mapping, separator)):
            digest = hashing.of_text(text)
            kept.add(hashing.short(digest), target.label, target.split, record.line)
            doctor.look(text, len(lengths), record.line, mapping["text"])
            lengths.append(len(text))
            staged.add((digest.hex(), text), len(text) + 32)
            unpacked += len(text)
            if unpacked > ctx.limits.max_unpacked_bytes:
                raise JobError("archive_too_large", "The file's text unpacks to more than is allowed.")


def _parse(
    ctx: Import, mapping: dict[str, str], separator: str, record: Record, cell: dict[str, str]
) -> tuple[str, reading.Target] | Problem:
    """The text and target of a row, or what is wrong with it."""
    text = cell["text"]
    if not text or text.isspace():
        return Problem("text_missing", "The text is empty.", mapping["text"])
    if len(text) > ctx.limits.max_field_chars:
        message = f"The text has {len(text):,} characters; {ctx.limits.max_field_chars:,} are allowed."
        return Problem("text_too_long", message, mapping["text"], text)
    target = reading.target(mapping, cell, separator)
    return target if isinstance(target, Problem) else (text, target)
