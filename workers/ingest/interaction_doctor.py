"""What all interactions together tell: users and items seen once, and times that are the same or lie ahead."""

import datetime as dt
from typing import NamedTuple

import numpy as np

from workers.ingest.context import Import
from workers.ingest.issues import Severity
from workers.ingest.names import Names
from workers.ingest.pairs import Mask, Pairs
from workers.ingest.splits import Ints

# A clock may be ahead of ours, or of another zone.
_AHEAD_S = 86_400
_EXAMPLES = 5
# Rows that are counted in one go: a count of few takes as long, where there are many users.
_COUNTED = 1 << 20


class Seen(NamedTuple):
    """How often each user and item (by number) comes, and the first and the last time, if there are times."""

    users: Ints
    items: Ints
    times: tuple[int, int] | None


def count(pairs: Pairs, keep: Mask) -> Seen:
    """Count the rows that stay."""
    users, items = (
        _counted(pairs.user_codes, len(pairs.users), keep),
        _counted(pairs.item_codes, len(pairs.items), keep),
    )
    lows, highs = [], []
    if pairs.times is not None:
        for start in range(0, len(pairs), _COUNTED):
            times = pairs.times.read(start, start + _COUNTED)
            times = times if (stay := keep[start : start + _COUNTED]).all() else times[stay]
            if len(times):
                lows.append(int(times.min()))
                highs.append(int(times.max()))
    return Seen(users, items, (min(lows), max(highs)) if lows else None)


def _counted(codes: Ints, names: int, keep: Mask) -> Ints:
    """How many of the rows that stay each number has."""
    counts = np.zeros(names, np.int64)
    for start in range(0, len(codes), _COUNTED):
        counts += np.bincount(codes[start : start + _COUNTED], minlength=names)
    return counts - np.bincount(codes[np.flatnonzero(~keep)], minlength=names)


def look(ctx: Import, pairs: Pairs, keep: Mask, seen: Seen, now: float) -> None:
    """Tell what is odd among the rows that stay."""
    found: dict[str, list[tuple[int, str]]] = {}
    counted: dict[str, int] = {}
    users_once, items_once = seen.users == 1, seen.items == 1
    lies_ahead = seen.times is not None and seen.times[1] > now + _AHEAD_S
    for block in pairs.blocks(keep, values=("timestamp",) if lies_ahead else ()):
        marked = {"user_once": users_once.take(block.users), "item_once": items_once.take(block.items)}
        if lies_ahead:
            marked["timestamp_future"] = block.values["timestamp"] > now + _AHEAD_S
        shown = {"user_once": (pairs.users, block.users), "item_once": (pairs.items, block.items)}
        for code, mask in marked.items():
            rows = np.flatnonzero(mask)
            counted[code] = counted.get(code, 0) + len(rows)
            ctx.findings.extend(rows + block.first, code)
            examples = found.setdefault(code, [])
            for row in rows[: _EXAMPLES - len(examples)].tolist():
                value = _named(*shown[code], row) if code in shown else _moment(int(block.values["timestamp"][row]))
                examples.append((int(pairs.lines[int(block.rows[row])]), value))
    for code, examples in found.items():
        severity: Severity = "warning" if code == "timestamp_future" else "info"
        for line, value in examples:
            ctx.issues.add(code, severity, line=line, value=value, count=0)
        if counted[code]:
            ctx.issues.add(code, severity, count=counted[code])
    if seen.times and seen.times[0] == seen.times[1] and int(keep.sum()) > 1:
        line = int(pairs.lines[int(np.argmax(keep))])
        ctx.issues.add("timestamp_constant", "warning", line=line, value=str(seen.times[0]))


def _named(names: Names, codes: Ints, row: int) -> str:
    return names.at([int(codes[row])])[0]


def _moment(seconds: int) -> str:
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)).isoformat()
