"""Recommendation: rows of user and item, perhaps with rating and time.

A user and an item that occur together more than once are counted once: the last of them by time (by line where there is
no time) stays; of occurrences in several splits of the file, one in train, so that nothing that was seen is tested.
The others are accepted rows too, but merged: rows + rejected + profile["merged"] = rows in the file.
"""

import datetime as dt
import time as clock
from array import array
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.job import SPLITS
from workers.contracts.manifest import IngestResult
from workers.ingest import cells, columns, finish, hashing, interaction_doctor, reading, splits
from workers.ingest.context import Import
from workers.ingest.items import MIN_ROWS, no_rows
from workers.ingest.parquet_out import GroupWriter, cells_at, column_types, interaction_schema
from workers.ingest.records import Problem, Record, Table
from workers.ingest.splits import Codes, Ints
from workers.ingest.statistics import doubling_histogram, summary

_MAX_ID_CHARS = 1000
Mask = finish.Mask


class _Kept:
    """What stays in memory per accepted row: 33 bytes, and each different user and item once."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self._user_codes = array("i")
        self._item_codes = array("i")
        self._hashes = array("Q")
        self._times = array("q")
        self._given = array("b")
        self._lines = array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, user: str, item: str, short_hash: int, time: int | None, split: str | None, line: int) -> None:
        self._user_codes.append(self.users.setdefault(user, len(self.users)))
        self._item_codes.append(self.items.setdefault(item, len(self.items)))
        self._hashes.append(short_hash)
        self._lines.append(line)
        if time is not None:
            self._times.append(time)
        if split is not None:
            self._given.append(splits.CODES[split])

    @property
    def user_codes(self) -> Ints:
        return np.frombuffer(self._user_codes, np.int32).astype(np.int64)

    @property
    def item_codes(self) -> Ints:
        return np.frombuffer(self._item_codes, np.int32).astype(np.int64)

    @property
    def hashes(self) -> hashing.Hashes:
        return np.frombuffer(self._hashes, np.uint64)

    @property
    def times(self) -> Ints | None:
        return np.frombuffer(self._times, np.int64) if self._times else None

    @property
    def given(self) -> Codes | None:
        return np.frombuffer(self._given, np.int8) if self._given else None

    @property
    def lines(self) -> Ints:
        return np.frombuffer(self._lines, np.int64)


def run(ctx: Import, table: Table) -> IngestResult:
    """Import a table. Raises JobError."""
    mapping = columns.resolve("recommendation", table.columns, table.head, ctx.spec.mapping)
    table.narrow(list(mapping.values()))
    ctx.open_rejects(table.columns)
    schema = interaction_schema(rating="rating" in mapping, timestamp="timestamp" in mapping)
    kept = _Kept()
    _read(ctx, table, mapping, kept, schema)
    if not len(kept):
        raise no_rows(ctx)
    keep = _merge(ctx, kept)
    if int(keep.sum()) < MIN_ROWS or len(kept.users) < 2 or len(kept.items) < 2:
        evidence = f"{int(keep.sum())} interactions of {len(kept.users)} users with {len(kept.items)} items."
        raise JobError("too_few_rows", "There are too few interactions, users or items.", evidence=evidence)
    times, given = kept.times, kept.given
    interaction_doctor.look(
        ctx,
        (kept.users, kept.user_codes[keep]),
        (kept.items, kept.item_codes[keep]),
        None if times is None else times[keep],
        kept.lines[keep],
        clock.time(),
    )
    codes, by = splits.interactions(
        kept.user_codes[keep],
        kept.hashes[keep],
        None if times is None else times[keep],
        None if given is None else given[keep],
        ctx.spec.seed,
    )
    written = finish.write(ctx, schema, codes, keep=keep)
    carved = [] if given is None else [SPLITS[code] for code in splits.missing(given[keep])]
    return finish.result(
        ctx,
        written,
        columns=column_types(schema),
        mapping=mapping,
        profile={
            "format": table.format,
            **table.facts,
            "rows_in_file": len(kept) + ctx.rejected,
            "merged": len(kept) - written.rows,
            "split": {"by": by, "carved": carved},
            **_profile(kept, keep),
        },
    )


def _read(ctx: Import, table: Table, mapping: dict[str, str], kept: _Kept, schema: pa.Schema) -> None:
    with GroupWriter(
        ctx.staged, pa.schema([field for field in schema if field.name not in ("row", "split")])
    ) as staged:
        for record, parsed in reading.accepted(ctx, table, mapping, partial(_parse, mapping)):
            user, item, rating, time, split = parsed
            digest = hashing.of_pair(user, item)
            kept.add(user, item, hashing.short(digest), time, split, record.line)
            typed = [value for role, value in (("rating", rating), ("timestamp", time)) if role in mapping]
            staged.add((digest.hex(), user, item, *typed), 64)


_Parsed = tuple[str, str, float | None, int | None, str | None]


def _parse(mapping: dict[str, str], record: Record, cell: dict[str, str]) -> _Parsed | Problem:
    """The values of a row, or what is wrong with it. A mapped column must be filled in every row."""
    user, item = cells.name(cell["user"]), cells.name(cell["item"])
    rating = time = None
    for role, value, missing in (("user", user, "user_missing"), ("item", item, "item_missing")):
        if not value:
            return Problem(missing, f"The {role} is empty.", mapping[role])
        if len(value) > _MAX_ID_CHARS:
            return Problem(
                "text_too_long", f"The {role} has more than {_MAX_ID_CHARS} characters.", mapping[role], value
            )
    if "rating" in cell and (rating := cells.rating(cell["rating"])) is None:
        return Problem("rating_invalid", "The rating is not a number.", mapping["rating"], cell["rating"])
    if "timestamp" in cell and (time := cells.timestamp(cell["timestamp"])) is None:
        return Problem("timestamp_invalid", "The time cannot be read.", mapping["timestamp"], cell["timestamp"])
    split = reading.given_split(mapping, cell)
    return split if isinstance(split, Problem) else (user, item, rating, time, split)


def _merge(ctx: Import, kept: _Kept) -> Mask:
    """Which rows stay, one per user and item; the others are told as an issue."""
    count = len(kept)
    pairs = kept.user_codes * len(kept.items) + kept.item_codes
    times = kept.times if kept.times is not None else np.zeros(count, np.int64)
    # Of several splits train wins, so it has to come last.
    split = -kept.given.astype(np.int64) if kept.given is not None else np.zeros(count, np.int64)
    order = np.lexsort((np.arange(count), times, split, pairs))
    last = np.append(pairs[order][1:] != pairs[order][:-1], True)
    keep = np.zeros(count, np.bool_)
    keep[order[last]] = True
    merged = np.flatnonzero(~keep)
    if len(merged):
        examples = merged[: ctx.limits.max_examples_per_issue].tolist()
        users, items = (cells_at(ctx.staged, column, set(examples)) for column in ("user", "item"))
        for row in examples:
            value = f"{users[row]}, {items[row]}"
            ctx.issues.add("interaction_repeated", "info", line=int(kept.lines[row]), value=value, count=0)
        ctx.issues.add("interaction_repeated", "info", count=len(merged))
    return keep


def _profile(kept: _Kept, keep: Mask) -> dict[str, Any]:
    users = np.bincount(kept.user_codes[keep], minlength=len(kept.users))
    items = np.bincount(kept.item_codes[keep], minlength=len(kept.items))
    names = list(kept.items)
    # Ties by name, so that the profile does not depend on the order of equal items.
    popular = sorted(np.argsort(-items, kind="stable")[:10].tolist(), key=lambda code: (-items[code], names[code]))
    profile: dict[str, Any] = {
        "users": len(users),
        "items": len(items),
        "density": float(keep.sum() / (len(users) * len(items))),
        "per_user": {**summary(users), "doubling": doubling_histogram(users)},
        "per_item": {**summary(items), "doubling": doubling_histogram(items)},
        "popular": [{"item": names[code], "count": int(items[code])} for code in popular],
    }
    if kept.times is not None:
        first, last = int(kept.times.min()), int(kept.times.max())
        profile["dates"] = {"from": _iso(first), "to": _iso(last)}
    return profile


def _iso(seconds: int) -> str:
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)).isoformat()
