"""Cells to values: ratings, times, splits, labels."""

import datetime as dt
import math
import re
from decimal import Decimal
from typing import Any

import orjson

from workers.ingest.normal_forms import normal

_SPLITS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "te", "holdout"), "test"),
}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d{1,2}", re.ASCII)
# 20240131 is a day, not a second of August 1970.
_COMPACT_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII)
# 31.01.2024 10:15:00, as spreadsheets write it wherever a dot stands in dates: the day is first.
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.((?:19|20)\d\d)(?:,?[ T](\d{1,2}):(\d\d)(?::(\d\d))?)?", re.ASCII)
# 1/31/2024 2:05 PM or 31-01-2024 14:05: which of the first two is the day, other cells may tell.
_SLASHED = re.compile(
    r"(\d{1,2})([/-])(\d{1,2})\2((?:19|20)\d\d)(?:,?[ T](\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([AaPp])\.?[Mm]\.?)?)?",
    re.ASCII,
)
_FLOAT32_MAX = 3.4e38
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# The years 1 to 9999, which every datetime library can show.
_MIN_SECONDS = -62_135_596_800
_MAX_SECONDS = 253_402_300_799


def cell_text(value: Any) -> str:
    """A cell of a typed file (JSON, Parquet) as text: whole floats without ".0", times in ISO 8601, lists as
    JSON, None as ""."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, list):
        return orjson.dumps(value, default=cell_text).decode()
    return str(value)


def name(cell: str) -> str:
    """A label, user or item as it is kept: NFC, spaces around and doubled inside removed."""
    if cell.isascii():
        return " ".join(cell.split())
    return " ".join(normal("NFC", cell).split())


def split(cell: str) -> str | None:
    """train, validation or test, also under their usual other names; None for anything else."""
    return _SPLITS.get(cell.strip().casefold())


def rating(cell: str) -> float | None:
    """A finite number that float32 can hold, written with a point or (one or two decimals) a comma; else None."""
    text = cell.strip()
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) < _FLOAT32_MAX else None


def day_first(cell: str) -> bool | None:
    """Whether in a date like 31/01/2024 the day comes first; None where that cannot be told, or it is no such date."""
    slashed = _SLASHED.fullmatch(cell.strip())
    first, second = (int(slashed[1]), int(slashed[3])) if slashed else (0, 0)
    return None if max(first, second) <= 12 else first > 12


def is_slashed(cell: str) -> bool:
    """Whether a cell is a date like 31/01/2024, or 01/31/2024."""
    return _SLASHED.fullmatch(cell.strip()) is not None


def timestamp(cell: str, day_first: bool | None = None) -> int | None:
    """Seconds since the epoch, from ISO 8601 (UTC where it names no zone), 31.01.2024, 1/31/2024 or a number;
    else None.

    `day_first`: of dates with slashes; where nobody says, the month comes first if it can. Numbers too large for
    seconds are taken as milli-, micro- or nanoseconds.
    """
    text = cell.strip()
    if _NUMBER.fullmatch(text) and not _COMPACT_DATE.fullmatch(text):
        seconds = float(text)
        for limit, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
            if abs(seconds) >= limit:
                seconds /= unit
                break
        return math.floor(seconds) if _MIN_SECONDS <= seconds <= _MAX_SECONDS else None
    try:
        moment = _slashed(text, day_first) or _dotted(text) or dt.datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    # Python's datetime is used for the calendar only; a time without a zone is UTC.
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH) // dt.timedelta(seconds=1)


def _dotted(text: str) -> dt.datetime | None:
    """31.01.2024, perhaps with a time. Raises ValueError for a day that no month has."""
    if not (found := _DOTTED.fullmatch(text)):
        return None
    day, month, year, hour, minute, second = (int(part or 0) for part in found.groups())
    return dt.datetime(year, month, day, hour, minute, second)


def _slashed(text: str, day_comes_first: bool | None) -> dt.datetime | None:
    """1/31/2024 2:05 PM or 31-01-2024. Raises ValueError for a day that no month has."""
    if not (found := _SLASHED.fullmatch(text)):
        return None
    first, _, second, year, hour, minute, clock_second, half = found.groups()
    if day_comes_first is None:
        day_comes_first = int(first) > 12
    day, month = (first, second) if day_comes_first else (second, first)
    hours = int(hour or 0)
    if half:
        if not 1 <= hours <= 12:
            raise ValueError(text)
        hours = hours % 12 + (12 if half in "Pp" else 0)
    return dt.datetime(int(year), int(month), int(day), hours, int(minute or 0), int(clock_second or 0))
