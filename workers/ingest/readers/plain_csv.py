"""Many records of a delimited file at once, where it is beyond doubt that they are what csv_records would make of them.

Rust parses (polars). It is asked only where every quote opens or closes a field or is doubled within one, and believed
only where the records and fields add up; whatever is in any way odd is left to csv_records, which loses nothing.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from workers.ingest.dialects import Dialect
from workers.ingest.readers.csv_records import MAX_RECORD_LINES

Places = npt.NDArray[np.int64]
_NEWLINE = ord("\n")


class Plain(NamedTuple):
    """Records that were read: `starts`, the line that each begins on, counted from 0, and how much was read of what."""

    cells: pl.DataFrame
    starts: Places
    lines: int
    size: int


def parse(block: bytes, dialect: Dialect, width: int, max_field_chars: int) -> Plain | None:
    """The records of a block of whole lines, or of most of it where a field goes on behind it; None if in doubt.

    `block` begins with a record. Every record has `width` fields; a shorter or a longer one is a doubt.
    """
    if width < 2 or not dialect.delimiter.isascii() or not _is_ordinary(block, dialect):
        return None
    size = len(block)
    if not block.endswith(b"\n"):
        # Of a last line without an end polars forgives one delimiter too many.
        block += b"\n"
    quote: str | None = None
    inside: Places | None = None
    if dialect.quote and dialect.quote.encode() in block:
        found = _quotes(block, dialect)
        if found is None:
            return None
        quote, block, inside = found
    if not block or (cells := _read(block, dialect.delimiter, quote, width)) is None:
        return None
    starts, lines = _starts(block, inside)
    if len(starts) != cells.height or not _is_full(block, dialect.delimiter, cells):
        return None
    if not ((inside is None and _has_short_lines(block, max_field_chars)) or _is_short(cells, max_field_chars)):
        return None
    return Plain(cells, starts, lines, min(size, len(block)))


def _is_ordinary(block: bytes, dialect: Dialect) -> bool:
    """No zero bytes, no mark in the middle of a file, no line that ends in \\r alone.

    Where a sign escapes quotes, neither that nor two quotes in a row, which mean something else there.
    """
    return not (
        b"\0" in block
        or block.startswith(b"\xef\xbb\xbf")
        or (b"\r" in block and block.count(b"\r") != block.count(b"\r\n"))
        or (dialect.escape and (dialect.escape.encode() in block or b'""' in block))
    )


def _quotes(block: bytes, dialect: Dialect) -> tuple[str | None, bytes, Places | None] | None:
    """By which character fields are quoted in a block, as much of it as ends with a record, and where quotes are in it.

    None where a quote is out of place. Where no field begins with a quote, all are ordinary characters.
    """
    content = np.frombuffer(block, np.uint8)
    quote, delimiter = ord(dialect.quote or '"'), ord(dialect.delimiter)
    places = np.flatnonzero(content == quote)
    before = np.where(places > 0, content[places - 1], _NEWLINE)
    begins = (before == delimiter) | (before == _NEWLINE)
    if not begins.any():
        return None, block, None
    if len(places) % 2:
        block, places = _cut(block, places)
        before, begins = before[: len(places)], begins[: len(places)]
        content = content[: len(block)]
    behind = np.where(places + 1 < len(block), content[np.minimum(places + 1, len(block) - 1)], _NEWLINE)
    opening = begins | (before == quote)
    closing = (behind == delimiter) | (behind == _NEWLINE) | (behind == ord("\r")) | (behind == quote)
    if not opening[0::2].all() or not closing[1::2].all():
        return None
    return dialect.quote, block, places


def _cut(block: bytes, places: Places) -> tuple[bytes, Places]:
    """A block up to the last line end that no quotes stand around, if the last quote is one that opens."""
    for last in range(len(places) - 1, -1, -2):
        end = block.rfind(b"\n", 0, int(places[last])) + 1
        if not last or end > places[last - 1]:
            return block[:end], places[:last]
    return b"", places[:0]


def _read(block: bytes, delimiter: str, quote: str | None, width: int) -> pl.DataFrame | None:
    try:
        return pl.read_csv(
            block,
            has_header=False,
            separator=delimiter,
            quote_char=quote,
            schema=dict.fromkeys(map(str, range(width)), pl.String),
            empty_string_is_null=False,
            missing_columns="raise",
            extra_columns="raise",
        )
    except pl.exceptions.PolarsError:
        return None


def _starts(block: bytes, quotes: Places | None) -> tuple[Places, int]:
    """The line that each record begins on, and how many lines there are; no starts where a record has too many."""
    is_end = np.frombuffer(block, np.uint8) == _NEWLINE
    if quotes is None:
        lines = int(np.count_nonzero(is_end))
        return np.arange(lines), lines
    ends = np.flatnonzero(is_end)
    outside = np.flatnonzero(np.searchsorted(quotes, ends) % 2 == 0) + 1
    starts = np.concatenate([[0], outside[:-1]])
    return starts[:0] if np.diff(starts).max(initial=1) > MAX_RECORD_LINES else starts, len(ends)


def _is_full(block: bytes, delimiter: str, cells: pl.DataFrame) -> bool:
    """Whether every record has all fields: none had more, so the delimiters that are not in fields tell."""
    if not (cells[:, -1] == "").any():
        # What a record lacks is missing at its end.
        return True
    within = sum(int(column.str.count_matches(delimiter, literal=True).sum()) for column in cells)
    return block.count(delimiter.encode()) == (cells.width - 1) * cells.height + within


def _has_short_lines(block: bytes, size: int) -> bool:
    """Whether no line has more bytes than that, seen by an end in every stretch of half as many."""
    half = max(1, size // 2)
    return all(block.find(b"\n", start, start + half) >= 0 for start in range(0, len(block), half))


def _is_short(cells: pl.DataFrame, max_field_chars: int) -> bool:
    longest = cells.select(pl.max_horizontal(pl.all().str.len_bytes().max())).item()
    return bool(longest is None or longest <= max_field_chars)
