"""Recommendation: rows of user and item, perhaps with rating and time.

A user and an item that occur together more than once are counted once: the last of them by time (by line where there is
no time) stays; of occurrences in several splits of the file, one in train, so that nothing that was seen is tested.
The others are accepted rows too, but merged: rows + rejected + profile["merged"] = rows in the file.
"""

import datetime as dt
import time as clock
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.job import SPLITS
from workers.contracts.manifest import IngestResult
from workers.ingest import columns, finish, hashing, interaction_doctor, reading, splits, values
from workers.ingest.coding import Coding, LineNumbers
from workers.ingest.context import Import
from workers.ingest.items import MIN_ROWS, no_rows
from workers.ingest.parquet_out import GroupWriter, cells_at, column_types, interaction_schema
from workers.ingest.records import Problem, Table
from workers.ingest.splits import Codes, Ints
from workers.ingest.statistics import doubling_histogram, summary

_MAX_ID_CHARS = 1000
Mask = finish.Mask


class _Kept:
    """What stays in memory per accepted row, 8 to 25 bytes, and each different user and item once."""

    def __init__(self, mapping: dict[str, str]) -> None:
        self.users, self.items = Coding(), Coding()
        self.lines = LineNumbers()
        self._user_codes = array("i")
        self._item_codes = array("i")
        self._times = array("q")
        self._given = array("b")
        self._hashes = array("Q")
        # Only where time alone decides the splits, nothing else is asked for.
        self._needs_hashes = "timestamp" not in mapping or "split" in mapping

    def __len__(self) -> int:
        return len(self._user_codes)

    def extend(self, rows: pl.DataFrame, hashes: hashing.Hashes) -> None:
        self._user_codes.frombytes(self.users.codes(rows["user"]).tobytes())
        self._item_codes.frombytes(self.items.codes(rows["item"]).tobytes())
        for name, kept in (("timestamp", self._times), ("split", self._given)):
            if name in rows.columns:
                kept.frombytes(rows[name].to_numpy().tobytes())
        if self._needs_hashes:
            self._hashes.frombytes(hashes.tobytes())
        self.lines.extend(rows[reading.LINE].to_numpy())

    @property
    def user_codes(self) -> Ints:
        return np.frombuffer(self._user_codes, np.int32)

    @property
    def item_codes(self) -> Ints:
        return np.frombuffer(self._item_codes, np.int32)

    @property
    def hashes(self) -> hashing.Hashes | None:
        return np.frombuffer(self._hashes, np.uint64) if self._needs_hashes else None

    @property
    def times(self) -> Ints | None:
        return np.frombuffer(self._times, np.int64) if self._times else None

    @property
    def given(self) -> Codes | None:
        return np.frombuffer(self._given, np.int8) if self._given else None

    def settle(self, seed: int) -> None:
        """Give rows that were added to an earlier version's their splits; those rows keep the ones they have."""
        given, hashes = self.given, self.hashes
        if given is not None and hashes is not None and (given == splits.UNDECIDED).any():
            settled = splits.added_interactions(self.user_codes, hashes, self.times, given, seed)
            self._given = array("b", settled.tobytes())


def run(ctx: Import, table: Table) -> IngestResult:
    """Import a table. Raises JobError."""
    mapping = columns.resolve("recommendation", table.columns, table.head, ctx.spec.mapping)
    table.narrow(list(mapping.values()))
    ctx.open_rejects(table.columns)
    schema = interaction_schema(rating="rating" in mapping, timestamp="timestamp" in mapping)
    kept = _Kept(mapping)
    _read(ctx, table, mapping, kept, schema)
    if not len(kept):
        raise no_rows(ctx)
    kept.settle(ctx.spec.seed)
    keep = _merge(ctx, kept)
    if int(keep.sum()) < MIN_ROWS or len(kept.users) < 2 or len(kept.items) < 2:
        evidence = f"{int(keep.sum())} interactions of {len(kept.users)} users with {len(kept.items)} items."
        raise JobError("too_few_rows", "There are too few interactions, users or items.", evidence=evidence)
    times = None if kept.times is None else kept.times[keep]
    given = None if kept.given is None else kept.given[keep]
    hashes = None if kept.hashes is None else kept.hashes[keep]
    interaction_doctor.look(
        ctx,
        (kept.users.names, kept.user_codes[keep]),
        (kept.items.names, kept.item_codes[keep]),
        times,
        kept.lines[np.flatnonzero(keep)],
        clock.time(),
    )
    codes, by = splits.interactions(kept.user_codes[keep], hashes, times, given, ctx.spec.seed)
    written = finish.write(ctx, schema, codes, keep=keep)
    carved = [] if given is None else [SPLITS[code] for code in splits.missing(given)]
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
    staged_schema = pa.schema([field for field in schema if field.name not in ("row", "split")])
    with GroupWriter(ctx.staged, staged_schema, packed=False) as staged:
        for rows in reading.accepted(ctx, table, partial(_parse, mapping)):
            digests = hashing.of_pairs(rows["user"], rows["item"])
            kept.extend(rows, digests.short)
            staged.add_table(rows.to_arrow().append_column("hash", digests.hexadecimal))


def _parse(mapping: dict[str, str], rows: pl.DataFrame, faults: reading.Faults) -> pl.DataFrame:
    """The values of rows. A mapped column must be filled in every row."""
    parsed: dict[str, pl.Series] = {}
    for role in ("user", "item"):
        parsed[role] = hashing.named(rows[mapping[role]])
        _check_name(role, mapping[role], parsed[role], faults)
    for role, code, read, message in _VALUES:
        if role in mapping:
            column = rows[mapping[role]]
            parsed[role] = read(column)
            faults.add(parsed[role].is_null(), partial(_unreadable, code, message, column))
    return pl.DataFrame({**parsed, **reading.given_split(mapping, rows, faults)})


def _check_name(role: str, column: str, names: pl.Series, faults: reading.Faults) -> None:
    missing = Problem({"user": "user_missing", "item": "item_missing"}[role], f"The {role} is empty.", column)
    faults.add(names == "", lambda _: missing)
    too_long = Problem("text_too_long", f"The {role} has more than {_MAX_ID_CHARS} characters.", column)
    faults.add(names.str.len_chars() > _MAX_ID_CHARS, lambda row: too_long._replace(value=names[row]))


def _unreadable(code: str, message: str, column: pl.Series, row: int) -> Problem:
    return Problem(code, message, column.name, column[row])


_VALUES: tuple[tuple[str, str, Callable[[pl.Series], pl.Series], str], ...] = (
    ("rating", "rating_invalid", values.ratings, "The rating is not a number."),
    ("timestamp", "timestamp_invalid", values.times, "The time cannot be read."),
)


def _merge(ctx: Import, kept: _Kept) -> Mask:
    """Which rows stay, one per user and item; the others are told as an issue."""
    count = len(kept)
    pairs = kept.user_codes.astype(np.int64) * len(kept.items) + kept.item_codes
    # The sort is stable, so that lines decide last. Of several splits train wins, so it has to come last.
    keys = (kept.times, None if kept.given is None else -kept.given, pairs)
    order = np.lexsort([key for key in keys if key is not None])
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
    names = kept.items.names
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
