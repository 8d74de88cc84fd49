"""Text classification: rows of text and label."""

from array import array
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import columns, hashing, items, label_sets, near, reading, text_lengths
from workers.ingest.context import Import
from workers.ingest.parquet_out import TEXT_SCHEMA, GroupWriter, column_types
from workers.ingest.records import Problem, Table
from workers.ingest.statistics import summary
from workers.ingest.text_doctor import NEEDS, TextDoctor

_STAGED = pa.schema([("hash", pa.string()), ("text", pa.string())])
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
    lengths = array("I")
    doctor = TextDoctor(ctx.issues, ctx.findings)
    _read(ctx, table, read, mapping.get(label_sets.OPTION, ""), kept, lengths, doctor)
    doctor.conclude(mapping["text"])
    items.check(ctx, kept)
    characters = np.frombuffer(lengths, np.uint32)
    text_lengths.tell(ctx, characters, kept.lines, mapping["text"])
    about = {"format": table.format, **table.facts, "text_length": summary(characters)}
    types = column_types(TEXT_SCHEMA)
    first = near.of_texts(ctx, kept.hashes)
    return items.write(ctx, kept, TEXT_SCHEMA, shown="text", columns=types, mapping=mapping, profile=about, first=first)


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
    with GroupWriter(ctx.staged, _STAGED, packed=False) as staged:
        for rows in reading.accepted(ctx, table, partial(_parse, ctx, mapping, separator)):
            texts, remarkable = rows["text"], rows["remarkable"].arg_true().to_numpy()
            digests = hashing.of_texts(texts, remarkable)
            doctor.look(texts, remarkable, len(kept), rows[reading.LINE].to_numpy(), mapping["text"])
            kept.extend(digests.short, *reading.targets(rows, separator))
            lengths.frombytes(rows["length"].to_numpy().tobytes())
            staged.add_table(pa.table({"hash": digests.hexadecimal, "text": texts.to_arrow()}))
            unpacked += int(rows["length"].sum())
            if unpacked > ctx.limits.max_unpacked_bytes:
                raise JobError("archive_too_large", "The file's text unpacks to more than is allowed.")


def _parse(
    ctx: Import, mapping: dict[str, str], separator: str, rows: pl.DataFrame, faults: reading.Faults
) -> pl.DataFrame:
    """Text, its length and whether it is remarkable, label and split of rows."""
    texts, column = rows[mapping["text"]], mapping["text"]
    remarkable, lengths = texts.str.contains(_REMARKABLE), texts.str.len_chars()
    blank = np.zeros(len(texts), np.bool_)
    blank[remarkable.arg_true().to_numpy()] = texts.filter(remarkable).str.contains(_BLANK).to_numpy()
    faults.add(blank, lambda _: Problem("text_missing", "The text is empty.", column))

    def too_long(row: int) -> Problem:
        message = f"The text has {lengths[row]:,} characters; {ctx.limits.max_field_chars:,} are allowed."
        return Problem("text_too_long", message, column, texts[row])

    faults.add(lengths > ctx.limits.max_field_chars, too_long)
    target = reading.target(mapping, rows, faults, separator)
    return pl.DataFrame({"text": texts, "length": lengths, "remarkable": remarkable, **target})
