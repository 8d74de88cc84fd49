"""Tell the dialect of a delimited file from its first lines."""

import itertools
import re
from statistics import mode

from workers.ingest.dialects import DOUBLE_COLON, UNIT_SEPARATOR, Dialect
from workers.ingest.readers.csv_records import parse

_DELIMITERS = (",", ";", "\t", "|")
_RECORDS = 200
# In steps of 5 %: the first line is one like most others.
_GOOD_FIT = 18
_SEP_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)


def sniff(sample: str, filename: str = "") -> Dialect:
    """The dialect under which most records have as many fields as the header, and at least two.

    `sample`: whole lines from the file's beginning. Among equals more columns win, then the file's ending, then comma.
    Where the first line is unlike most others, titles may stand above the header: then most records tell.
    """
    if match := _SEP_LINE.match(sample):
        return _best_quoting(sample[match.end() :], match[1])[0]._replace(skip=1)
    if DOUBLE_COLON in sample.partition("\n")[0] and UNIT_SEPARATOR not in sample:
        colons = Dialect(UNIT_SEPARATOR, None)
        if _fit(sample.replace(DOUBLE_COLON, UNIT_SEPARATOR), colons)[0] == 20:
            return colons
    preferred = "\t" if filename.lower().endswith((".tsv", ".tab")) else ","
    delimiters = sorted(_DELIMITERS, key=lambda one: one != preferred)
    # max() keeps the first among equals.
    dialect, fit, _ = max((_best_quoting(sample, one) for one in delimiters), key=lambda found: found[1:])
    if fit < _GOOD_FIT:
        other, better, _ = max((_best_quoting(sample, one, True) for one in delimiters), key=lambda found: found[1:])
        dialect, fit = (other, better) if better > fit else (dialect, fit)
    return dialect if fit else Dialect(preferred)


def _best_quoting(sample: str, delimiter: str, below: bool = False) -> tuple[Dialect, int, int]:
    """The best quoting for a delimiter, how well it fits in steps of 5 %, and the number of columns; `below` titles."""
    usual = Dialect(delimiter)
    best = (usual, *_fit(sample, usual, below))
    candidates = []
    if '\\"' in sample:
        candidates.append(Dialect(delimiter, '"', "\\"))
    if "'" in sample:
        candidates.append(Dialect(delimiter, "'"))
    if '"' in sample and best[1] < 10:
        # One stray quote is a row to reject; only where most rows break are quotes meant as ordinary characters.
        candidates.append(Dialect(delimiter, None))
    for dialect in candidates:
        fit = _fit(sample, dialect, below)
        if fit[0] > best[1]:
            best = (dialect, *fit)
    return best


def _fit(sample: str, dialect: Dialect, below: bool = False) -> tuple[int, int]:
    records = list(itertools.islice(parse(sample.splitlines(keepends=True), dialect, 131_072), _RECORDS))
    if below and (widths := [len(record.fields) for record in records if not record.problem]):
        usual = mode(widths)
        records = list(itertools.dropwhile(lambda record: record.problem or len(record.fields) != usual, records))
    # The first line counts even if it is broken: how wide it is tells what its quotes were to hold together.
    width = len(records[0].fields) if records else 0
    fitting = sum(not record.problem and len(record.fields) == width for record in records)
    return (round(20 * fitting / len(records)), width) if width > 1 else (0, width)
