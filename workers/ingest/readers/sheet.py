"""Spreadsheets: Excel (xlsx, xlsm, xlsb, xls) and OpenDocument (ods), by the Rust library calamine.

No macro runs and no formula is computed: a cell is the value that the file keeps of it.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.contracts.errors import JobError
from workers.contracts.job import GUESSED, FileOptions, IngestLimits
from workers.ingest.archives.zip_file import ZipArchive
from workers.ingest.cells import cell_text
from workers.ingest.columns import clean_header
from workers.ingest.readers.headers import SHOWN, above_table, has_header, title, unnamed
from workers.ingest.records import HEAD_RECORDS, Problem, Record, Table, text_problem


class SheetTable(Table):
    """A sheet, the first that has rows where none is chosen. Its first row that is not empty names the columns, unless
    it is a title above them or a row itself (see headers); a line is a row's number. Titles are rejected, so that they
    are told."""

    format = "sheet"

    def __init__(self, path: Path, limits: IngestLimits, options: FileOptions = GUESSED) -> None:
        _refuse_bomb(path, limits)
        name, self._rows, self.sheets = _read_sheet(path, options.sheet)
        self.facts: dict[str, Any] = {"sheet": name}
        if others := [other for other in self.sheets if other != name]:
            self.facts["left_out"] = others
        if len(self._rows) > limits.max_rows:
            raise JobError("too_many_rows", f"The sheet has more than {limits.max_rows:,} rows.")
        filled = (line for line, row in enumerate(self._rows) if any(cell_text(cell).strip() for cell in row))
        top = [
            Record(line + 1, list(map(cell_text, self._rows[line]))) for line in itertools.islice(filled, HEAD_RECORDS)
        ]
        if not top:
            raise JobError("no_rows", "The sheet holds no rows.")
        above = above_table(top, options.first_line)
        self.top, self.first_line = top[:SHOWN], top[above].line
        names = list(top[above].fields)
        while names and not names[-1].strip():
            names.pop()
        header = options.header
        if header is None:
            header = has_header(names, [record.fields[: len(names)] for record in top[above + 1 :]])
        self.facts["header"] = header
        self.columns = clean_header(names) if header else unnamed(len(names))
        self._titles = [title(line, fields, len(self.columns)) for line, fields, _ in top[:above]]
        self._start = self.first_line if header else self.first_line - 1
        self._done = 0
        self.head = [record.fields for record in itertools.islice(self.records(), HEAD_RECORDS) if not record.problem]

    def records(self) -> Iterator[Record]:
        """Every row that is not empty, from the first, each time."""
        width = len(self.columns)
        yield from self._titles
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


def _read_sheet(path: Path, wanted: str) -> tuple[str, list[list[Any]], list[str]]:
    """Name and rows of a visible sheet, the first that has any where none is wanted, and the names of all that
    have some. Raises JobError."""
    import python_calamine as calamine

    try:
        with calamine.load_workbook(str(path)) as book:
            sheets = [one.name for one in book.sheets_metadata if one.visible == calamine.SheetVisibleEnum.Visible]
            filled = [name for name in sheets if book.get_sheet_by_name(name).height]
            if not filled:
                raise JobError("no_rows", "The spreadsheet has no visible sheet with rows.")
            name = wanted or filled[0]
            if name not in sheets:
                evidence = "Sheets in the file: " + ", ".join(filled[:50])
                raise JobError("sheet_missing", f'There is no sheet "{name[:80]}".', evidence=evidence)
            return name, list(book.get_sheet_by_name(name).iter_rows()), filled
    except calamine.PasswordError:
        message = "The spreadsheet is protected by a password."
        raise JobError("file_unreadable", message, hint="Save it without one.") from None
    except (calamine.CalamineError, OSError, ValueError) as error:
        message = "The spreadsheet cannot be read."
        raise JobError("file_unreadable", message, hint="Save it as CSV UTF-8.", evidence=str(error)[:200]) from None
