"""Spreadsheets: Excel (xlsx, xlsm, xlsb, xls) and OpenDocument (ods), by the Rust library calamine.

No macro runs and no formula is computed: a cell is the value that the file keeps of it.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits
from workers.ingest.archives.zip_file import ZipArchive
from workers.ingest.cells import cell_text
from workers.ingest.columns import clean_header
from workers.ingest.readers.headers import has_header, titles, unnamed
from workers.ingest.records import HEAD_RECORDS, Problem, Record, Table, text_problem


class SheetTable(Table):
    """The first sheet that has rows. Its first row that is not empty names the columns, unless it is a title above them
    or a row itself (see headers); a line is a row's number. Titles are rejected, so that they are told."""

    format = "sheet"

    def __init__(self, path: Path, limits: IngestLimits, header: bool | None = None) -> None:
        _refuse_bomb(path, limits)
        name, self._rows, others = _first_sheet(path)
        self.facts: dict[str, Any] = {"sheet": name}
        if others:
            self.facts["left_out"] = others
        if len(self._rows) > limits.max_rows:
            raise JobError("too_many_rows", f"The sheet has more than {limits.max_rows:,} rows.")
        filled = (line for line, row in enumerate(self._rows) if any(cell_text(cell).strip() for cell in row))
        first = list(itertools.islice(filled, HEAD_RECORDS))
        if not first:
            raise JobError("no_rows", "The sheet holds no rows.")
        above = titles([cell_text(cell) for cell in self._rows[line]] for line in first)
        self._titles, top = first[:above], first[above]
        names = [cell_text(value) for value in self._rows[top]]
        while names and not names[-1].strip():
            names.pop()
        if header is None:
            below = self._rows[top + 1 : top + 1 + HEAD_RECORDS]
            header = has_header(names, [[cell_text(cell) for cell in row[: len(names)]] for row in below])
        self.facts["header"] = header
        self.columns = clean_header(names) if header else unnamed(len(names))
        self._start = top + 1 if header else top
        self._done = 0
        self.head = [record.fields for record in itertools.islice(self.records(), HEAD_RECORDS) if not record.problem]

    def records(self) -> Iterator[Record]:
        """Every row that is not empty, from the first, each time."""
        width = len(self.columns)
        for place in self._titles:
            fields = [cell_text(value) for value in self._rows[place]]
            value = " | ".join(field for field in fields if field.strip())
            message = "The row stands above the names of the columns."
            yield Record(place + 1, fields[:width], Problem("row_malformed", message, value=value))
        for place in range(self._start, len(self._rows)):
            self._done = place
            fields = [cell_text(value) for value in self._rows[place]]
            if not any(field.strip() for field in fields):
                continue
            problem = text_problem(fields)
            if any(field.strip() for field in fields[width:]):
                filled = max(number for number, field in enumerate(fields, 1) if field.strip())
                message = f"The row has {filled} cells; the header has {width}."
                problem = Problem("row_malformed", message, value=" | ".join(fields))
            else:
                fields = fields[:width]
            yield Record(place + 1, fields, problem)

    def fraction(self) -> float:
        """By rows."""
        return self._done / max(1, len(self._rows))

    def close(self) -> None:
        """Let go of the rows."""
        self._rows = []


def _refuse_bomb(path: Path, limits: IngestLimits) -> None:
    """Hold the zip that most spreadsheets are against the rules for archives: its directory tells what will come out.

    Raises JobError archive_*.
    """
    with open(path, "rb") as stream:
        is_zip = stream.read(2) == b"PK"
    if is_zip:
        ZipArchive(path, limits).close()


def _first_sheet(path: Path) -> tuple[str, list[list[Any]], list[str]]:
    """Name and rows of the first visible sheet that has any, and the names of the others that do."""
    import python_calamine as calamine

    try:
        with calamine.load_workbook(str(path)) as book:
            sheets = [one.name for one in book.sheets_metadata if one.visible == calamine.SheetVisibleEnum.Visible]
            filled = [name for name in sheets if book.get_sheet_by_name(name).height]
            if not filled:
                raise JobError("no_rows", "The spreadsheet has no visible sheet with rows.")
            return filled[0], list(book.get_sheet_by_name(filled[0]).iter_rows()), filled[1:]
    except calamine.PasswordError:
        message = "The spreadsheet is protected by a password."
        raise JobError("file_unreadable", message, hint="Save it without one.") from None
    except (calamine.CalamineError, OSError, ValueError) as error:
        message = "The spreadsheet cannot be read."
        raise JobError("file_unreadable", message, hint="Save it as CSV UTF-8.", evidence=str(error)[:200]) from None
