"""Text classification: rows of text and label."""

from array import array

import numpy as np
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import cells, columns, finish, hashing, items
from workers.ingest.context import Import
from workers.ingest.parquet_out import TEXT_SCHEMA, GroupWriter, column_types
from workers.ingest.records import Problem, Record, Table
from workers.ingest.statistics import summary

_STAGED = pa.schema([("hash", pa.string()), ("text", pa.string())])
_MAX_LABEL_CHARS = 400
_READING, _WRITING = "Reading rows", "Writing rows"
# The share of the work that reading is.
_READ_SHARE = 0.85


def run(ctx: Import, table: Table) -> IngestResult:
    """Import a table. Raises JobError."""
    mapping = columns.resolve("text", table.columns, table.head, ctx.spec.mapping)
    table.narrow(list(mapping.values()))
    ctx.open_rejects(table.columns)
    kept = items.Items()
    lengths = array("I")
    _read(ctx, table, mapping, kept, lengths)
    items.check(ctx, kept)
    codes, facts = items.decide(ctx, kept, "text")
    written = finish.write(
        ctx.staged,
        ctx.data,
        TEXT_SCHEMA,
        codes,
        labels=finish.Labels(kept.names, kept.labels),
        on_rows=lambda rows: ctx.progress.report(_READ_SHARE + (1 - _READ_SHARE) * rows / len(kept), _WRITING),
    )
    return IngestResult(
        rows=written.rows,
        rejected=ctx.rejected,
        content_hash=written.content_hash,
        columns=column_types(TEXT_SCHEMA),
        mapping=mapping,
        classes=kept.classes(),
        splits=written.splits,
        profile={
            "format": table.format,
            **table.facts,
            "rows_in_file": written.rows + ctx.rejected,
            **facts,
            "text_length": summary(np.frombuffer(lengths, np.uint32)),
        },
        issues=ctx.issues.as_list(),
    )


def _read(ctx: Import, table: Table, mapping: dict[str, str], kept: items.Items, lengths: "array[int]") -> None:
    place = {role: table.columns.index(column) for role, column in mapping.items()}
    unpacked = 0
    with GroupWriter(ctx.staged, _STAGED) as staged:
        for record in table.records():
            if len(kept) + ctx.rejected >= ctx.limits.max_rows:
                raise JobError("too_many_rows", f"The file has more than {ctx.limits.max_rows:,} rows.")
            problem = record.problem or _judge(ctx, record, mapping, place)
            if problem:
                ctx.reject(record, problem)
            else:
                text = record.fields[place["text"]]
                digest = hashing.of_text(text)
                split = cells.split(record.fields[place["split"]]) if "split" in place else None
                kept.add(hashing.short(digest), cells.name(record.fields[place["label"]]), split, record.line)
                lengths.append(len(text))
                staged.add((digest.hex(), text), len(text) + 32)
                unpacked += len(text)
                if unpacked > ctx.limits.max_unpacked_bytes:
                    raise JobError("archive_too_large", "The file's text unpacks to more than is allowed.")
            if (len(kept) + ctx.rejected) % 1000 == 0:
                ctx.progress.report(_READ_SHARE * table.fraction(), _READING)


def _judge(ctx: Import, record: Record, mapping: dict[str, str], place: dict[str, int]) -> Problem | None:
    """What is wrong with a row, or None."""
    text, label = record.fields[place["text"]], record.fields[place["label"]]
    if not text or text.isspace():
        return Problem("text_missing", "The text is empty.", mapping["text"])
    if len(text) > ctx.limits.max_field_chars:
        message = f"The text has {len(text):,} characters; {ctx.limits.max_field_chars:,} are allowed."
        return Problem("text_too_long", message, mapping["text"], text)
    if not label or label.isspace():
        return Problem("label_missing", "The label is empty.", mapping["label"])
    if len(label) > _MAX_LABEL_CHARS:
        message = f"The label has {len(label):,} characters; {_MAX_LABEL_CHARS} are allowed."
        return Problem("text_too_long", message, mapping["label"], label)
    if "split" in place and cells.split(record.fields[place["split"]]) is None:
        value = record.fields[place["split"]]
        return Problem("split_invalid", "The split is not train, validation or test.", mapping["split"], value)
    return None
