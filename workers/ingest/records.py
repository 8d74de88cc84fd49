"""What readers yield: records, each with its line and, where something is wrong, what; or many of them as columns."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

# What a batch is made of at most, where it is made of records.
_BATCH_ROWS, _BATCH_CHARS = 8192, 1 << 22


class Problem(NamedTuple):
    """Why a record or an entry cannot be used: a code of the catalogue and a sentence about this very one."""

    code: str
    message: str
    column: str = ""
    value: str = ""


class Record(NamedTuple):
    """One row of a file. `line` counts from 1 (the row for Parquet); `fields` follow the table's columns.

    With a problem, `fields` are what could be told apart, fewer or as many as the columns.
    """

    line: int
    fields: list[str]
    problem: Problem | None = None


class Batch(NamedTuple):
    """Consecutive records, column by column, and apart from them those that could not be read.

    `cells`: a frame of texts, none of them null, its columns those of the table; `lines`: the line that each of its
    rows begins on; `rejects`: the others, each with its problem. Both in the file's order.
    """

    lines: "npt.NDArray[np.int64]"
    cells: "pl.DataFrame"
    rejects: list[Record]

    @property
    def records(self) -> int:
        """How many records these are."""
        return len(self.lines) + len(self.rejects)


class Table(ABC):
    """An opened tabular file. Cells are text; a missing cell is the empty text."""

    format: str
    columns: list[str]
    # The fields of the first good records, for guessing what the columns mean.
    head: list[list[str]]
    # What was found out about the file: encoding, delimiter.
    facts: dict[str, Any]
    # Where it may be asked which row the table begins with: the first rows, those above it too, and that row's line.
    top: Sequence["Record"] = ()
    first_line: int | None = None
    # Of a workbook the names of the sheets that have rows.
    sheets: Sequence[str] = ()

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """Every record from the first on, good and bad. Blank lines are no records."""

    def batches(self) -> Iterator[Batch]:
        """The same as `records`, many at once: what work on whole columns reads."""
        some: list[Record] = []
        chars = 0
        for record in self.records():
            some.append(record)
            chars += sum(map(len, record.fields))
            if len(some) == _BATCH_ROWS or chars > _BATCH_CHARS:
                yield batch(some, self.columns)
                some, chars = [], 0
        if some:
            yield batch(some, self.columns)

    @abstractmethod
    def fraction(self) -> float:
        """How much of the file has been read, 0 to 1."""

    def narrow(self, columns: list[str]) -> None:  # noqa: B027 - most formats cannot
        """Read only these columns from now on, where the format can; otherwise nothing changes."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


def batch(records: Sequence[Record], columns: list[str]) -> Batch:
    """Records as a batch."""
    # A look at an upload gets along without these.
    import numpy as np
    import polars as pl

    good = [record for record in records if record.problem is None]
    values = zip(*(record.fields for record in good), strict=True) if good else ((),) * len(columns)
    cells = pl.DataFrame([pl.Series(name, cell, pl.String) for name, cell in zip(columns, values, strict=True)])
    lines = np.array([record.line for record in good], np.int64)
    return Batch(lines, cells, [record for record in records if record.problem])


HEAD_RECORDS = 500


def text_problem(fields: list[str]) -> Problem | None:
    """What keeps fields from being text: undecodable bytes, NUL, half a surrogate pair, or a line cut as too long.

    Readers mark the first and the last with lone surrogates (see lines.py), so that one encode finds them all.
    """
    joined = "\x1f".join(fields)
    try:
        joined.encode()
    except UnicodeEncodeError:
        if CUT in joined:
            return Problem("text_too_long", "The line is longer than allowed; the rest of it was left out here.")
        return Problem("row_undecodable", "The row holds bytes that are not valid in the file's encoding.")
    if "\0" in joined:
        return Problem("row_undecodable", "The row holds a zero byte, which is no text.")
    return None


# Lone surrogates never come out of a decoder, so they can carry a mark.
UNDECODABLE = "\udcff"
CUT = "\udfff"
_UNPRINTABLE = re.compile("[\0\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with marks, half surrogate pairs and zero bytes replaced: safe for files, JSON and Postgres."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNPRINTABLE.sub("\ufffd", text.replace(CUT, "…"))
