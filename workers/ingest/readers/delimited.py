"""CSV and TSV of any common dialect, as a stream."""

import itertools
import os
from collections.abc import Iterator
from typing import BinaryIO

from workers.contracts.errors import JobError
from workers.contracts.job import GUESSED, FileOptions
from workers.ingest import columns as column_names
from workers.ingest import rejects
from workers.ingest.dialects import DOUBLE_COLON, UNIT_SEPARATOR
from workers.ingest.lines import Lines
from workers.ingest.readers.csv_records import Parser
from workers.ingest.readers.headers import SHOWN, above_table, has_header, lacks_first_name, title, unnamed
from workers.ingest.readers.sniff_dialect import sniff
from workers.ingest.records import HEAD_RECORDS, Batch, Problem, Record, Table, batch, printable

_SNIFF_LINES = 400
_SNIFF_CHARS = 1 << 18
# Bytes that are read at once, and the least for which that is worth while.
_BLOCK, _LEAST = 1 << 22, 1 << 14


class DelimitedTable(Table):
    """A CSV file. The first record that is no title above the table (see headers) names the columns, unless it is a row
    itself; then they are called column_1, … Titles are rejected, so that they are told.

    An errors.csv or an exported version of ours gives back the original columns.
    Raises JobError no_rows where there is no record at all.
    """

    format = "csv"

    def __init__(
        self, stream: BinaryIO, encoding: str, filename: str, max_field_chars: int, options: FileOptions = GUESSED
    ) -> None:
        self._size = max(1, stream.seek(0, os.SEEK_END))
        stream.seek(0)
        self._stream = stream
        self._lines = Lines(stream, encoding, 4 * max_field_chars)
        first = self._first_lines()
        self._dialect = dialect = sniff("".join(first), filename)
        self.facts = {"encoding": encoding, "delimiter": dialect.shown}
        self._lines.put_back(first[dialect.skip :])
        # No line of a block is too long.
        self._block = min(_BLOCK, 4 * max_field_chars)
        if dialect.shown == DOUBLE_COLON:
            self._lines.replace(DOUBLE_COLON, UNIT_SEPARATOR)
        self._parser = Parser(self._lines, dialect, max_field_chars)
        self._parser.skip(dialect.skip)
        self._read_header(options)
        # All that was looked at to judge the header: behind it the parser goes on.
        self._ahead = [*self._titles, *itertools.islice(self._shaped(), HEAD_RECORDS + 1)]
        self.head = [record.fields for record in self._ahead if record.problem is None]

    def _first_lines(self) -> list[str]:
        first: list[str] = []
        chars = 0
        for line in self._lines:
            first.append(line)
            chars += len(line)
            if len(first) == _SNIFF_LINES or chars > _SNIFF_CHARS:
                break
        return first

    def _read_header(self, options: FileOptions) -> None:
        top = list(itertools.islice(self._parser, HEAD_RECORDS + 1))
        if not top:
            raise JobError("no_rows", "The file holds no rows.")
        self._ours = rejects.own_columns(top[0].fields)
        above = 0 if self._ours else above_table(top, options.first_line)
        first, below = top[above], top[above + 1 :]
        if first.problem:
            line = printable("".join(first.fields))[:200]
            raise JobError("file_unreadable", "The header line cannot be read.", evidence=f"Line {first.line}: {line}")
        names, header = first.fields, options.header
        if self._ours:
            names, header = [rejects.restore(name) for name in names[self._ours :]], True
        elif header is None:
            good = [record.fields for record in below if not record.problem and len(record.fields) == len(names)]
            header = has_header(names, good)
        if (
            header
            and not self._ours
            and lacks_first_name(names, [record.fields for record in below if not record.problem])
        ):
            names = ["", *names]
        self.facts["header"] = header
        self.top, self.first_line = top[:SHOWN], first.line
        self.columns = column_names.clean_header(names) if header else unnamed(len(names))
        self._titles = [title(line, fields, len(self.columns)) for line, fields, _ in top[:above]]
        self._records: Iterator[Record] = itertools.chain(top[above + header :], self._parser)

    def _shaped(self) -> Iterator[Record]:
        """Records with as many fields as the columns; those with others get their problem."""
        width, ours = len(self.columns), self._ours
        for line, fields, problem in self._records:
            if ours:
                fields = [rejects.restore(field) for field in fields[ours:]]
            count = len(fields)
            if count > width and problem is None and not any(field.strip() for field in fields[width:]):
                # Trailing delimiters, as spreadsheets leave them.
                fields = fields[:width]
            elif count != width and problem is None:
                problem = Problem(
                    "row_malformed",
                    f"The row has {count} field{'' if count == 1 else 's'}; the header has {width}.",
                    value=self._dialect.shown.join(fields),
                )
            yield Record(line, fields, problem)

    def records(self) -> Iterator[Record]:
        """Every record, once."""
        ahead, self._ahead = self._ahead, []
        return itertools.chain(ahead, self._shaped())

    def batches(self) -> Iterator[Batch]:
        """The same as `records`: many at once where they are plain, one by one where they are not."""
        ahead, self._ahead = self._ahead, []
        if ahead:
            yield batch(ahead, self.columns)
        self._pause()
        size = self._block
        while not self._lines.is_over():
            if plain := self._plain(size):
                yield plain
                size = min(2 * size, self._block)
            elif size > _LEAST:
                # Look closer, so that what is odd leaves as much as possible to be read at once.
                size = max(size // 16, _LEAST)
            elif records := list(self._some(_LEAST)):
                yield batch(records, self.columns)

    def _plain(self, size: int) -> Batch | None:
        """As many of the next records as are in `size` bytes, if they are plain."""
        from workers.ingest.readers import plain_csv

        block = self._lines.peek(size)
        width = len(self.columns) + self._ours
        found = plain_csv.parse(block, self._dialect, width, self._parser.max_field_chars)
        if found is None:
            return None
        line = self._pause()
        self._parser.skip(found.lines)
        self._lines.skip(found.size)
        cells = found.cells[:, self._ours :]
        cells.columns = self.columns
        return Batch(found.starts + line, rejects.restored(cells) if self._ours else cells, [])

    def _some(self, chars: int) -> Iterator[Record]:
        """The next records, one by one, of so many characters together."""
        for record in self._shaped():
            yield record
            chars -= self._parser.chars
            if chars <= 0:
                break
        self._pause()

    def _pause(self) -> int:
        """Put back what the parser has looked at ahead of the next record; the line that that one begins on."""
        line, lines = self._parser.pause()
        self._lines.put_back(lines)
        return line

    def fraction(self) -> float:
        """By bytes."""
        return min(1.0, self._lines.bytes_read() / self._size)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
