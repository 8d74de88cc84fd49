"""Records out of the lines of a delimited file. No line is lost: each belongs to one record, good or bad.

csv.reader does the parsing. Around it stands what it lacks: a quote that is opened and never properly closed costs its
own line only (the reader alone would swallow the rest of the file), and each record knows its real line number.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator

from workers.ingest.dialects import Dialect
from workers.ingest.records import Problem, Record, text_problem

# A quoted field may span so many lines, and a record hold so many characters per allowed character of a field.
MAX_RECORD_LINES = 10_000
# Characters that may be read again after unclosed quotes. When they are spent, a file made of traps gets no more
# look-ahead, so that reading stays linear in the size of the file.
_REREAD_BUDGET = 50_000_000


class _UnclosedError(Exception):
    """A record has become longer than any real one: its quote is not going to close."""


class _Feed:
    """Hands lines to csv.reader, remembers those of the record at work, and takes them back."""

    def __init__(self, lines: Iterator[str], max_chars: int) -> None:
        self._lines = lines
        self._returned: deque[str] = deque()
        self._max_chars = max_chars
        self._max_lines = MAX_RECORD_LINES
        self._budget = _REREAD_BUDGET
        self._chars = 0
        # Number of the record's first line, and its lines.
        self.line = 1
        self.record: list[str] = []

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else next(self._lines)
        if self.record:
            self._chars += len(line)
            if self._chars > self._max_chars or len(self.record) >= self._max_lines:
                self._returned.appendleft(line)
                raise _UnclosedError
        else:
            self._chars = len(line)
        self.record.append(line)
        return line

    def begin(self) -> None:
        """The record is settled; the next one starts behind it."""
        self.line += len(self.record)
        self.record = []

    def let_go(self) -> list[str]:
        """The lines that were taken back; they will come again from where they came from."""
        returned = list(self._returned)
        self._returned.clear()
        return returned

    def keep_first(self) -> str:
        """Settle the record's first line alone and take the others back."""
        first, *others = self.record
        self._returned.extendleft(reversed(others))
        self._budget -= sum(map(len, others))
        if self._budget < 0:
            self._max_lines = 1
        self.record = [first]
        return first


class Parser:
    """Every record, the header too; lines without any character but spaces are none.

    Fields come as written; the number of fields is the caller's to judge.
    """

    def __init__(self, lines: Iterable[str], dialect: Dialect, max_field_chars: int) -> None:
        self._feed = _Feed(iter(lines), max_chars=4 * max_field_chars)
        self._dialect = dialect
        # A setting of the whole process; this class is its only reader of CSV.
        self.max_field_chars = max(max_field_chars, 131_072)
        csv.field_size_limit(self.max_field_chars)
        self._reader = csv.reader(self._feed, **dialect.reader_options())

    def __iter__(self) -> "Parser":
        return self

    def __next__(self) -> Record:
        while True:
            self._feed.begin()
            try:
                fields = next(self._reader)
            except (csv.Error, _UnclosedError) as error:
                return _broken(self._feed.line, self._feed.keep_first(), self._dialect, error)
            if len(fields) > 1 or "".join(self._feed.record).strip():
                return Record(self._feed.line, fields, text_problem(fields))

    @property
    def chars(self) -> int:
        """How many characters the last record has."""
        return sum(map(len, self._feed.record))

    def pause(self) -> tuple[int, list[str]]:
        """The line that the next record begins on, and the lines from there on that were looked at already."""
        self._feed.begin()
        return self._feed.line, self._feed.let_go()

    def skip(self, lines: int) -> None:
        """The next record begins so many lines further on."""
        self._feed.line += lines


def parse(lines: Iterable[str], dialect: Dialect, max_field_chars: int) -> Iterator[Record]:
    """Every record of some lines; see Parser."""
    return Parser(lines, dialect, max_field_chars)


def _broken(line: int, text: str, dialect: Dialect, error: Exception) -> Record:
    fields = text.rstrip("\r\n").split(dialect.delimiter)
    if "field limit" in str(error):
        return Record(line, [field[:1000] for field in fields], Problem("text_too_long", "A field is too long."))
    if problem := text_problem(fields):
        return Record(line, fields, problem)
    message = (
        "A quote is opened and never closed, or other text follows a closing quote. Double the quotes inside a field."
    )
    return Record(line, fields, Problem("row_malformed", message, value=text.strip()))
