"""Corrections that somebody asked for, row by row: relabelled, rewritten, moved to another split, or dropped."""

from typing import Any

import numpy as np

from workers.contracts.errors import JobError
from workers.contracts.job import SPLITS
from workers.ingest import cells, label_sets
from workers.ingest.edits import Edit
from workers.ingest.reading import MAX_LABEL_CHARS
from workers.ingest.records import text_problem
from workers.ingest.version import Version


def plan(body: Any, version: Version) -> Edit:
    """The edit that {"changes": [{"row", "label"? or "labels"?, "text"?, "text_pair"?, "split"?, "drop"?}, …]}
    asks for.

    The last word on a row counts. Raises JobError correction_invalid.
    """
    changes = body.get("changes") if isinstance(body, dict) else None
    if not isinstance(changes, list) or not changes:
        raise JobError("correction_invalid", 'Send {"changes": [{"row": 0, "label": "…"}]}.')
    labels: dict[int, str] = {}
    texts: dict[int, str] = {}
    pairs: dict[int, str] = {}
    splits: dict[int, str] = {}
    drop = np.zeros(version.rows, np.bool_)
    for place, change in enumerate(changes):
        row = _row(change, place, version)
        known = {"row", "label", "labels", "text", "text_pair", "split", "drop"}
        if not set(change) & (known - {"row"}) or set(change) - known:
            raise JobError("correction_invalid", f"Change {place}: give a label, a text, a split, or drop.")
        if "label" in change:
            labels[row] = _label(change["label"], place, version)
        if "labels" in change:
            labels[row] = _labels(change["labels"], place, version)
        if "text" in change:
            texts[row] = _text("text", change["text"], place, version)
        if "text_pair" in change:
            pairs[row] = _text("text_pair", change["text_pair"], place, version)
        if "split" in change:
            splits[row] = _split(change["split"], place)
        if "drop" in change:
            drop[row] = change["drop"] is True
    return Edit(drop=drop, labels=labels, texts=texts, pairs=pairs, splits=splits)


def _row(change: Any, place: int, version: Version) -> int:
    row = change.get("row") if isinstance(change, dict) else None
    if type(row) is not int or row < 0:
        raise JobError("correction_invalid", f"Change {place}: the row is not a number of a row.")
    if row >= version.rows:
        raise JobError("correction_invalid", f"There is no row {row}; the last one is {version.rows - 1}.")
    return row


def _label(label: Any, place: int, version: Version) -> str:
    if "label" not in version.schema.names:
        raise JobError("correction_invalid", "Only datasets with labels can be given others.")
    name = cells.name(label) if isinstance(label, str) else ""
    if not name or len(name) > MAX_LABEL_CHARS or text_problem([name]):
        raise JobError("correction_invalid", f"Change {place}: the label must be a text of 1 to 400 characters.")
    if version.is_multi_label:
        return label_sets.text([name])
    if label_sets.read(name) is not None:
        raise JobError("correction_invalid", f"Change {place}: the rows of this dataset have one label each.")
    return name


def _labels(labels: Any, place: int, version: Version) -> str:
    """Several labels as they stand in the version's `label`."""
    if not version.is_multi_label or not isinstance(labels, list):
        message = "labels must be a list" if version.is_multi_label else "the rows of this dataset have one label each"
        raise JobError("correction_invalid", f"Change {place}: {message}.")
    for label in labels:
        _label(label, place, version)
    return label_sets.text(label_sets.of(labels))


def _text(column: str, text: Any, place: int, version: Version) -> str:
    if column not in version.schema.names:
        what = "texts" if column == "text" else "pairs of texts"
        raise JobError("correction_invalid", f"Only datasets of {what} can be given others.")
    if not isinstance(text, str) or not text.strip() or text_problem([text]):
        raise JobError("correction_invalid", f"Change {place}: the text is empty or no text.")
    return text


def _split(split: Any, place: int) -> str:
    if split not in SPLITS:
        raise JobError("correction_invalid", f"Change {place}: the split is one of {', '.join(SPLITS)}.")
    return str(split)
