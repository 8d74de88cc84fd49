"""Label corrections: a new data.parquet from that of an earlier version, splits unchanged."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import cells, finish, hashing, splits
from workers.ingest import items as classification
from workers.ingest.context import Import
from workers.ingest.kinds import table
from workers.ingest.parquet_out import IMAGE_SCHEMA, TEXT_SCHEMA, column_types, groups
from workers.ingest.reading import MAX_LABEL_CHARS
from workers.ingest.records import text_problem
from workers.ingest.statistics import summary


def parse(body: Any) -> dict[int, str]:
    """Row → label, out of {"changes": [{"row", "label"}, …]}; the last word on a row counts.

    Raises JobError correction_invalid.
    """
    changes = body.get("changes") if isinstance(body, dict) else None
    if not isinstance(changes, list) or not changes:
        raise JobError("correction_invalid", 'Send {"changes": [{"row": 0, "label": "…"}]}.')
    parsed: dict[int, str] = {}
    for place, change in enumerate(changes):
        row, label = (change.get("row"), change.get("label")) if isinstance(change, dict) else (None, None)
        if type(row) is not int or row < 0:
            raise JobError("correction_invalid", f"Change {place}: the row is not a number of a row.")
        name = cells.name(label) if isinstance(label, str) else ""
        if not name or len(name) > MAX_LABEL_CHARS or text_problem([name]):
            raise JobError("correction_invalid", f"Change {place}: the label must be a text of 1 to 400 characters.")
        parsed[row] = name
    return parsed


def run(ctx: Import, changes: dict[int, str]) -> IngestResult:
    """Write the corrected version of `inputs/source`, one row group in memory at a time. Raises JobError."""
    with pq.ParquetFile(ctx.source, pre_buffer=False) as file:
        names, rows = file.schema_arrow.names, file.metadata.num_rows
    if "label" not in names:
        raise JobError("correction_invalid", "Only datasets with labels can be corrected.")
    # What shows a row to a person says what the data is.
    shown = next(name for name in _SCHEMAS if name in names)
    if (last := max(changes)) >= rows:
        raise JobError("correction_invalid", f"There is no row {last}; the last one is {rows - 1}.")
    ctx.open_rejects([shown, "label"])
    kept = _relabelled(ctx, changes)
    classification.check(ctx, kept)
    found = classification.examine(ctx, kept, ctx.source, shown)
    codes = kept.given
    if codes is None:
        raise JobError("input_corrupt", "The earlier version has no rows.")
    schema, columns, profile = _SCHEMAS[shown](ctx)
    labels = finish.Labels(kept.names, kept.labels)
    written = finish.write(ctx, schema, codes, source=ctx.source, labels=labels)
    return finish.result(
        ctx,
        written,
        columns=columns,
        mapping=dict(ctx.spec.mapping),
        classes=kept.classes(),
        profile={
            "format": "correction",
            "corrections": len(changes),
            "duplicates": len(found.repeated),
            "split": {"by": "parent", "carved": []},
            **profile,
        },
    )


def _relabelled(ctx: Import, changes: dict[int, str]) -> classification.Items:
    kept = classification.Items()
    for group in groups(ctx.source, ["hash", "label", "split"]):
        for digest, label, split in zip(*(group[name].to_pylist() for name in ("hash", "label", "split")), strict=True):
            row = len(kept)
            if split not in splits.CODES:
                raise JobError("input_corrupt", evidence=f"Row {row} is in no known split.")
            kept.add(hashing.short(bytes.fromhex(digest)), changes.get(row, label), split, row)
    return kept


_About = tuple[pa.Schema, list[dict[str, str]], dict[str, Any]]


def _texts(ctx: Import) -> _About:
    lengths = [pc.utf8_length(group["text"]).to_numpy() for group in groups(ctx.source, ["text"])]
    return TEXT_SCHEMA, column_types(TEXT_SCHEMA), {"text_length": summary(np.concatenate(lengths))}


def _images(ctx: Import) -> _About:
    parts = [
        {name: group[name].to_numpy() for name in ("width", "height")}
        for group in groups(ctx.source, ["width", "height"])
    ]
    profile = {name: summary(np.concatenate([part[name] for part in parts])) for name in ("width", "height")}
    return IMAGE_SCHEMA, column_types(IMAGE_SCHEMA), profile


# The column that shows a row to a person → schema, columns and profile of such data.
_SCHEMAS: dict[str, Callable[[Import], _About]] = {"name": _images, "text": _texts, "values": table.again}
