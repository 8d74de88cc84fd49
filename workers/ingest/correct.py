"""Label corrections: a new data.parquet from that of an earlier version, splits unchanged."""

from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import cells, finish, hashing, splits
from workers.ingest import items as classification
from workers.ingest.context import Import
from workers.ingest.parquet_out import IMAGE_SCHEMA, TEXT_SCHEMA, column_types, groups
from workers.ingest.records import text_problem
from workers.ingest.statistics import summary

_MAX_LABEL_CHARS = 400


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
        if not name or len(name) > _MAX_LABEL_CHARS or text_problem([name]):
            raise JobError("correction_invalid", f"Change {place}: the label must be a text of 1 to 400 characters.")
        parsed[row] = name
    return parsed


def run(ctx: Import, changes: dict[int, str]) -> IngestResult:
    """Write the corrected version of `inputs/source`, one row group in memory at a time. Raises JobError."""
    with pq.ParquetFile(ctx.source, pre_buffer=False) as file:
        names, rows = file.schema_arrow.names, file.metadata.num_rows
    if "label" not in names:
        raise JobError("correction_invalid", "Only datasets with labels can be corrected.")
    is_image = "image" in names
    if (last := max(changes)) >= rows:
        raise JobError("correction_invalid", f"There is no row {last}; the last one is {rows - 1}.")
    ctx.open_rejects(["name"] if is_image else ["text", "label"])
    kept = _relabelled(ctx, changes)
    classification.check(ctx, kept)
    found = classification.examine(ctx, kept, ctx.source, "name" if is_image else "text")
    codes = kept.given
    if codes is None:
        raise JobError("input_corrupt", "The earlier version has no rows.")
    schema = IMAGE_SCHEMA if is_image else TEXT_SCHEMA
    labels = finish.Labels(kept.names, kept.labels)
    written = finish.write(
        ctx.source,
        ctx.data,
        schema,
        codes,
        labels=labels,
        on_rows=lambda done: ctx.progress.report(0.3 + 0.7 * done / rows, "Writing rows"),
    )
    return IngestResult(
        rows=written.rows,
        rejected=0,
        content_hash=written.content_hash,
        columns=column_types(schema),
        mapping=dict(ctx.spec.mapping),
        classes=kept.classes(),
        splits=written.splits,
        profile={
            "format": "correction",
            "corrections": len(changes),
            "duplicates": found.repeated,
            "split": {"by": "parent", "carved": []},
            **(_image_profile(ctx) if is_image else _text_profile(ctx)),
        },
        issues=ctx.issues.as_list(),
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


def _text_profile(ctx: Import) -> dict[str, Any]:
    lengths = [pc.utf8_length(group["text"]).to_numpy() for group in groups(ctx.source, ["text"])]
    return {"text_length": summary(np.concatenate(lengths))}


def _image_profile(ctx: Import) -> dict[str, Any]:
    parts = [
        {name: group[name].to_numpy() for name in ("width", "height")}
        for group in groups(ctx.source, ["width", "height"])
    ]
    return {name: summary(np.concatenate([part[name] for part in parts])) for name in ("width", "height")}
