"""Recommendation: rows of user and item, perhaps with rating and time.

A user and an item that occur together more than once are counted once: the last of them by time (by line where there is
no time) stays; of occurrences in several splits of the file, one in train, so that nothing that was seen is tested.
The others are accepted rows too, but merged: rows + rejected + profile["merged"] = rows in the file.
"""

import datetime as dt
import time as clock
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.job import SPLITS
from workers.contracts.manifest import IngestResult
from workers.ingest import cells, columns, finish, interaction_doctor, names, reading, splits, values
from workers.ingest.ahead import ahead
from workers.ingest.context import READ_SHARE, Import
from workers.ingest.hashing import ColumnsHash
from workers.ingest.items import MIN_ROWS, no_rows
from workers.ingest.names import Names
from workers.ingest.pairs import Mask, Pairs
from workers.ingest.parquet_out import GROUP_ROWS, GroupWriter, column_types, interaction_schema
from workers.ingest.records import Problem, Table
from workers.ingest.splits import Codes, Ints
from workers.ingest.statistics import doubling_histogram, summary

# Rows that are looked at in one go.
_STRETCH: Final = 1 << 20
# Cells to values, null where they have none.
Read = Callable[[pl.Series], pl.Series]


def run(ctx: Import, table: Table) -> IngestResult:
    """Import a table. Raises JobError."""
    mapping = columns.resolve("recommendation", table.columns, table.head, ctx.spec.mapping)
    times = values.Times(ctx.day_first, columns.cells_of(table, mapping.get("timestamp")))
    table.narrow(list(mapping.values()))
    ctx.open_rejects(table.columns)
    schema = interaction_schema(rating="rating" in mapping, timestamp="timestamp" in mapping)
    pairs = Pairs(mapping, ctx.staging)
    reads = {"rating": values.ratings, "timestamp": times.read}
    for rows in reading.accepted(ctx, table, partial(_parse, mapping, reads, pairs)):
        pairs.extend(rows)
    if not len(pairs):
        raise no_rows(ctx)
    if times.doubtful:
        column = mapping["timestamp"]
        ctx.issues.add("date_ambiguous", "warning", line=1, column=column, value=f"{column}: {times.doubtful}")
    pairs.settle(ctx.spec.seed)
    keep, codes, by = pairs.decide(ctx.spec.seed)
    _tell_merged(ctx, pairs, keep)
    seen = interaction_doctor.count(pairs, keep)
    users, items = (int((counts > 0).sum()) for counts in (seen.users, seen.items))
    if int(keep.sum()) < MIN_ROWS or users < 2 or items < 2:
        evidence = f"{int(keep.sum())} interactions of {users} users with {items} items."
        raise JobError("too_few_rows", "There are too few interactions, users or items.", evidence=evidence)
    interaction_doctor.look(ctx, pairs, keep, seen, clock.time())
    written = _write(ctx, schema, pairs, keep, codes)
    given = pairs.given
    carved = [] if given is None else [SPLITS[code] for code in splits.missing(given[keep])]
    return finish.result(
        ctx,
        written,
        columns=column_types(schema),
        mapping=mapping,
        profile={
            "format": table.format,
            **table.facts,
            "rows_in_file": len(pairs) + ctx.rejected,
            "merged": len(pairs) - written.rows,
            "split": {"by": by, "carved": carved},
            **_profile(pairs, seen),
        },
    )


def _parse(
    mapping: dict[str, str], reads: Mapping[str, Read], pairs: Pairs, rows: pl.DataFrame, faults: reading.Faults
) -> pl.DataFrame:
    """The values of rows, users and items as numbers. A mapped column must be filled in every row."""
    parsed: dict[str, pl.Series] = {}
    for role, known in (("user", pairs.users), ("item", pairs.items)):
        parsed[role] = _numbered(role, rows[mapping[role]], known, faults)
    for role, code, message in _VALUES:
        if role in mapping:
            column = rows[mapping[role]]
            parsed[role] = reads[role](column)
            faults.add(parsed[role].is_null(), partial(_unreadable, code, message, column))
    return pl.DataFrame({**parsed, **reading.given_split(mapping, rows, faults)})


def _numbered(role: str, column: pl.Series, known: Names, faults: reading.Faults) -> pl.Series:
    numbers = known.codes(column)
    missing = Problem({"user": "user_missing", "item": "item_missing"}[role], f"The {role} is empty.", column.name)
    faults.add(numbers == names.EMPTY, lambda _: missing)
    message = f"The {role} has more than {names.MAX_CHARS} characters."
    too_long = Problem("text_too_long", message, column.name)
    faults.add(numbers == names.TOO_LONG, lambda row: too_long._replace(value=cells.name(column[row])))
    return pl.Series(numbers)


def _unreadable(code: str, message: str, column: pl.Series, row: int) -> Problem:
    return Problem(code, message, column.name, column[row])


_VALUES = (
    ("rating", "rating_invalid", "The rating is not a number."),
    ("timestamp", "timestamp_invalid", "The time cannot be read."),
)


def _tell_merged(ctx: Import, pairs: Pairs, keep: Mask) -> None:
    """Rows that give way to another one of the same user and item are told as an issue."""
    merged = np.flatnonzero(~keep)
    if not len(merged):
        return
    examples = merged[: ctx.limits.max_examples_per_issue].tolist()
    users, items = (
        pairs.users.at(pairs.user_codes[examples].tolist()),
        pairs.items.at(pairs.item_codes[examples].tolist()),
    )
    for row, user, item in zip(examples, users, items, strict=True):
        value = f"{user}, {item}"
        ctx.issues.add("interaction_repeated", "info", line=int(pairs.lines[row]), value=value, count=0)
    ctx.issues.add("interaction_repeated", "info", count=len(merged))


def _write(ctx: Import, schema: pa.Schema, pairs: Pairs, keep: Mask, codes: Codes) -> finish.Written:
    content = ColumnsHash()
    written = {
        "user": _Written(pairs.users, pairs.user_codes, keep),
        "item": _Written(pairs.items, pairs.item_codes, keep),
    }
    coded = ["split", *(role for role, one in written.items() if one.repeats)]
    with GroupWriter(ctx.data, schema, coded) as writer:
        for group, fraction in ahead(_complete(pairs, keep, codes, written, content)):
            writer.add_group(group)
            ctx.progress.report(READ_SHARE + (1 - READ_SHARE) * fraction, "Writing rows")
    return finish.Written(len(codes), finish.per_split(codes), content.hexdigest())


def _complete(
    pairs: Pairs, keep: Mask, codes: Codes, written: dict[str, "_Written"], content: ColumnsHash
) -> Iterator[tuple[pa.Table, float]]:
    """The rows that stay, group by group, and which share of all rows that makes so far. All is hashed on the way."""
    for block in pairs.blocks(keep):
        rows = slice(block.first, block.first + len(block.rows))
        table = {
            "row": pa.array(np.arange(rows.start, rows.stop)),
            "split": pa.DictionaryArray.from_arrays(codes[rows].astype(np.int32), SPLITS),
        }
        content.add("split", codes[rows])
        for role, numbers in (("user", block.users), ("item", block.items)):
            numbers = written[role].places[numbers]
            table[role] = written[role].column(numbers)
            content.add(role, numbers)
        for name, numbers in block.values.items():
            table[name] = pa.array(numbers)
            content.add(name, numbers)
        yield pa.table(table), (int(block.rows[-1]) + 1) / len(pairs) if len(block.rows) else 0.0
    for role, one in written.items():
        content.add_names(role, one.names)


class _Written:
    """Users or items of the rows that stay, numbered in the order in which they appear there."""

    def __init__(self, names: Names, codes: Ints, keep: Mask) -> None:
        firsts = np.full(len(names), len(codes), np.int32)
        for stop in range(len(codes), 0, -_STRETCH):
            start = max(0, stop - _STRETCH)
            rows = np.flatnonzero(keep[start:stop])[::-1] + start
            # Of several rows for one number the last one stays.
            firsts[codes[rows]] = rows
        order = np.argsort(firsts)[: np.count_nonzero(firsts < len(codes))]
        # By the number in `pairs`: that by appearance.
        self.places = np.full(len(names), -1, np.int32)
        self.places[order] = np.arange(len(order), dtype=np.int32)
        self.names = names.texts().gather(order)
        self._array = self.names.to_arrow().cast(pa.large_string())
        head = self.places[codes[:GROUP_ROWS][keep[:GROUP_ROWS]]]
        # Whether a dictionary of those in a row group is worth its while.
        self.repeats = 2 * int(np.count_nonzero(np.bincount(head))) <= len(head)

    def column(self, numbers: Ints) -> pa.Array:
        """The names of some numbers; where they repeat, as a dictionary of those that are among them."""
        if not self.repeats:
            return self._array.take(pa.array(numbers)).cast(pa.string())
        among = np.zeros(len(self.names), np.bool_)
        among[numbers] = True
        different = np.flatnonzero(among)
        places = np.empty(len(among), np.int32)
        places[different] = np.arange(len(different), dtype=np.int32)
        names = self._array.take(pa.array(different)).cast(pa.string())
        return pa.DictionaryArray.from_arrays(places[numbers], names)


def _profile(pairs: Pairs, seen: interaction_doctor.Seen) -> dict[str, Any]:
    users, items = seen.users[seen.users > 0], seen.items[seen.items > 0]
    popular = np.argsort(-seen.items, kind="stable")[:10]
    popular = popular[seen.items[popular] > 0].tolist()
    # Ties by name, so that the profile does not depend on the order of equal items.
    named = sorted(zip((-seen.items[popular]).tolist(), pairs.items.at(popular), strict=True))
    profile: dict[str, Any] = {
        "users": len(users),
        "items": len(items),
        "density": float(users.sum() / (len(users) * len(items))),
        "per_user": {**summary(users), "doubling": doubling_histogram(users)},
        "per_item": {**summary(items), "doubling": doubling_histogram(items)},
        "popular": [{"item": name, "count": -count} for count, name in named],
    }
    if seen.times is not None:
        first, last = seen.times
        profile["dates"] = {"from": _iso(first), "to": _iso(last)}
    return profile


def _iso(seconds: int) -> str:
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)).isoformat()
