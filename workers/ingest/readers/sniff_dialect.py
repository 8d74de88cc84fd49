"""Tell the dialect of a delimited file from its first lines."""

import itertools
import re

from workers.ingest.dialects import DOUBLE_COLON, UNIT_SEPARATOR, Dialect
from workers.ingest.readers.csv_records import parse

_DELIMITERS = (",", ";", "\t", "|")
_RECORDS = 200
_SEP_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)


def sniff(sample: str, filename: str = "") -> Dialect:
    """The dialect under which most records have as many fields as the header, and at least two.

    `sample`: whole lines from the file's beginning. Among equals more columns win, then the file's ending, then comma.
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
    return dialect if fit else Dialect(preferred)


def _best_quoting(sample: str, delimiter: str) -> tuple[Dialect, int, int]:
    """The best quoting for a delimiter, how well it fits in steps of 5 %, and the number of columns."""
    usual = Dialect(delimiter)
    best = (usual, *_fit(sample, usual))
    candidates = []
    if '\\"' in sample:
        candidates.append(Dialect(delimiter, '"', "\\"))
    if "'" in sample:
        candidates.append(Dialect(delimiter, "'"))
    if '"' in sample and best[1] < 10:
        # One stray quote is a row to reject; only where most rows break are quotes meant as ordinary characters.
        candidates.append(Dialect(delimiter, None))
    for dialect in candidates:
        fit = _fit(sample, dialect)
        if fit[0] > best[1]:
            best = (dialect, *fit)
    return best


def _fit(sample: str, dialect: Dialect) -> tuple[int, int]:
    width = fitting = total = 0
    for record in itertools.islice(parse(sample.splitlines(keepends=True), dialect, 131_072), _RECORDS):
        width = width or len(record.fields)
        fitting += record.problem is None and len(record.fields) == width
        total += 1
    return (round(20 * fitting / total), width) if width > 1 else (0, width)
