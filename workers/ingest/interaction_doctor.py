"""What all interactions together tell: users and items seen once, and times that are the same or lie ahead."""

import datetime as dt

import numpy as np

from workers.ingest.context import Import
from workers.ingest.splits import Ints

# A clock may be ahead of ours, or of another zone.
_AHEAD_S = 86_400


def look(
    ctx: Import,
    users: tuple[list[str], Ints],
    items: tuple[list[str], Ints],
    times: Ints | None,
    lines: Ints,
    now: float,
) -> None:
    """Find what is odd. Of users and items the names with their codes, and the code of each row, as lines and times."""
    for code, (names, codes) in {"user_once": users, "item_once": items}.items():
        once = np.flatnonzero(np.bincount(codes, minlength=len(names)) == 1)
        if len(once):
            _tell(ctx, code, np.flatnonzero(np.isin(codes, once)), lines, names, codes)
    if times is None:
        return
    ahead = np.flatnonzero(times > now + _AHEAD_S)
    for row in ahead[:5].tolist():
        moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=int(times[row]))
        ctx.issues.add("timestamp_future", "warning", line=int(lines[row]), value=moment.isoformat(), count=0)
    ctx.findings.extend(ahead, "timestamp_future")
    if len(ahead):
        ctx.issues.add("timestamp_future", "warning", count=len(ahead))
    if len(times) > 1 and times.min() == times.max():
        ctx.issues.add("timestamp_constant", "warning", line=int(lines[0]), value=str(int(times[0])))


def _tell(ctx: Import, code: str, rows: Ints, lines: Ints, names: list[str], codes: Ints) -> None:
    for row in rows[:5].tolist():
        ctx.issues.add(code, "info", line=int(lines[row]), value=names[int(codes[row])], count=0)
    ctx.issues.add(code, "info", count=len(rows))
    ctx.findings.extend(rows, code)
