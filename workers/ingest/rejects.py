"""errors.csv: what was rejected, with its line, why, and the original fields; safe to open in a spreadsheet.

A text cell that a spreadsheet would run as a formula (it starts with = + - @, their full-width forms, a tab or a line
end) gets a leading apostrophe; numbers stay as they are. A cell that starts with an apostrophe before such a sign
gets a second one, so that `restore`, which is applied when such a file is imported again, gives back every original.
"""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workers.ingest.records import Problem, Record, printable

if TYPE_CHECKING:
    import polars as pl

LEADING: Final = ("line", "code", "message")
# What the first column of an exported version is called: the row's number.
EXPORTED: Final = "slipway_row"
_FORMULA: Final = tuple("=+-@＝＋－＠\t\r\n")
_LOOKED_AT: Final = (*_FORMULA, "'")
_NUMERIC: Final = frozenset("0123456789.,eE+-")
# The same for whole columns, as regular expressions of Rust: a sign behind any apostrophes, and a number.
_SIGN: Final = "[" + "".join(_FORMULA).replace("-", r"\-") + "]"
_NUMBER: Final = r"^[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?$"


def own_columns(names: list[str]) -> int:
    """How many leading columns of a file with these columns are ours and no data; 0 for files that are not ours."""
    if names[:3] == list(LEADING):
        return 3
    return 1 if names[:1] == [EXPORTED] else 0


def neutralise(cell: str) -> str:
    """The cell, with an apostrophe before it where a spreadsheet would take it for a formula."""
    if not cell.startswith(_LOOKED_AT):
        return cell
    if cell.startswith("'"):
        return "'" + cell if cell[1:].lstrip("'").startswith(_FORMULA) else cell
    if _NUMERIC.issuperset(cell) and _is_float(cell):
        return cell
    return "'" + cell


def neutralised(cells: "pl.DataFrame") -> "pl.DataFrame":
    """A frame with all its texts neutralised."""
    import polars as pl

    texts = pl.col(pl.String)
    safe = ~texts.str.contains(f"^'*{_SIGN}") | texts.str.contains(_NUMBER)
    return cells.with_columns(pl.when(safe).then(texts).otherwise(pl.lit("'") + texts))


def restore(cell: str) -> str:
    """The original of a neutralised cell."""
    if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA):
        return cell[1:]
    return cell


def restored(cells: "pl.DataFrame") -> "pl.DataFrame":
    """A frame of texts with the originals of all neutralised cells."""
    import polars as pl

    every = pl.all()
    return cells.with_columns(pl.when(every.str.contains(f"^'+{_SIGN}")).then(every.str.slice(1)).otherwise(every))


def _is_float(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


class RejectFile:
    """Writes errors.csv as rows come; `count` is the number of rejected rows."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._stream = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed by close()
        # With \r\n as line end the writer quotes a lone \r too, which readers would take for one.
        self._writer = csv.writer(self._stream, lineterminator="\r\n")
        self._width = len(columns)
        self._writer.writerow([*LEADING, *(neutralise(name) for name in columns)])
        self.count = 0

    def add(self, record: Record, problem: Problem) -> None:
        """One rejected record. Fields too many are joined in the last column, so that the file stays rectangular."""
        fields = [printable(field) for field in record.fields]
        if len(fields) > self._width:
            fields[self._width - 1 :] = [",".join(fields[self._width - 1 :])]
        fields += [""] * (self._width - len(fields))
        self._writer.writerow([record.line, problem.code, problem.message, *map(neutralise, fields)])
        self.count += 1

    def close(self) -> None:
        """Flush and close."""
        self._stream.close()
