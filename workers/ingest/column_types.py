"""What the columns of a table hold: numbers, dates, categories, or nothing that a model could learn from."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

from workers.inference.tabular import DATE_FORMATS, is_missing, parse_date, parse_number
from workers.ingest.coding import each
from workers.ingest.issues import Issues

ColumnType = Literal["number", "date", "category", "ignored"]
# Different cells that are remembered, over all columns, and of one column.
_REMEMBERED, _MOST, _LEAST = 1_000_000, 10_000, 200
# A column is of a type if this share of its cells can be read so; the others count as missing.
_SHARE = 0.95
# Fewer cells than these do not show that each is different.
_ENOUGH = 20
_NEARLY_CONSTANT = 0.995
_GAPS = 0.5
_ID = re.compile(r"(^|[_\s.-])(id|uuid|guid|index|key)$|[a-z](Id|ID|Uuid|UUID)$|^(unnamed: 0|rowid|row|nr|no)$", re.I)
_CAMEL_ID = re.compile(r"[a-z](Id|ID)$")
_COMPACT_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII)
# Ways to write dates that other cells have to tell apart; the first is taken where none does.
_TURNED = {"%m/%d/%Y": "%d/%m/%Y", "%m-%d-%Y": "%d-%m-%Y"}
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass
class Cells:
    """The different cells of one column with their counts: the first `most` of them; `more` counts the rest."""

    most: int
    counts: Counter[str] = field(default_factory=Counter)
    more: int = 0

    def extend(self, cells: pl.Series) -> None:
        """More cells."""
        places, names = each(cells, str)
        for cell, count in zip(names, np.bincount(places, minlength=len(names)).tolist(), strict=True):
            if cell in self.counts or len(self.counts) < self.most:
                self.counts[cell] += count
            else:
                self.more += count


def remember(columns: int) -> list[Cells]:
    """Empty memories for so many columns, together of bounded size."""
    most = max(_LEAST, min(_MOST, _REMEMBERED // max(1, columns)))
    return [Cells(most) for _ in range(columns)]


@dataclass
class Column:
    """What a column holds. `reason` says why it is ignored; `format` how its dates are written;
    `ambiguous`: its days may as well be its months."""

    name: str
    type: ColumnType
    missing: int
    distinct: int
    reason: str = ""
    format: str = ""
    odd: int = 0
    ambiguous: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """What data.parquet says of the column."""
        return {"type": self.type, "format": self.format}

    def profile(self) -> dict[str, Any]:
        """What the dataset page shows."""
        about = {"name": self.name, "type": self.type, "missing": self.missing, "distinct": self.distinct}
        return about | ({"reason": self.reason} if self.reason else {}) | self.facts


def judge(name: str, cells: Cells) -> Column:
    """The type of a column, by its cells and, for ids, its name."""
    present = Counter({cell: count for cell, count in cells.counts.items() if not is_missing(cell)})
    held = present.total()
    column = Column(name, "category", cells.counts.total() - held, len(present))
    if not present:
        column.type, column.reason = "ignored", "empty"
    elif len(present) == 1 and not column.missing:
        column.type, column.reason = "ignored", "constant"
    elif (numbers := _readable(present, _is_number)) >= _SHARE * held:
        _judge_number(column, present, held)
        column.odd = held - numbers if column.type == "number" else 0
    elif (best := _date_format(present))[1] >= _SHARE * held:
        column.type, column.format, column.odd = "date", best[0], held - best[1]
        turned = _TURNED.get(column.format)
        column.ambiguous = turned is not None and _reads(present, turned) == best[1]
    elif held >= _ENOUGH and len(present) > 0.5 * held and _words(present) >= 4:
        column.type, column.reason = "ignored", "text"
    elif held >= _ENOUGH and len(present) > 0.9 * held:
        column.type, column.reason = "ignored", "id"
    column.facts = _facts(column, present)
    return column


def _judge_number(column: Column, present: Counter[str], held: int) -> None:
    column.type = "number"
    if all(_COMPACT_DATE.fullmatch(cell) for cell in present):
        column.type, column.format = "date", "%Y%m%d"
    elif all(_INTEGER.fullmatch(cell) for cell in present):
        named = bool(_ID.search(column.name) or _CAMEL_ID.search(column.name))
        values = [int(cell) for cell in present]
        counted = max(values) - min(values) + 1 == len(values)
        if len(present) == held >= _ENOUGH and (named or counted):
            column.type, column.reason = "ignored", "id"
        elif named:
            # Repeated ids name things; their size means nothing.
            column.type = "category"


def _is_number(cell: str) -> bool:
    return parse_number(cell) == parse_number(cell)


def _readable(present: Counter[str], check: Any) -> int:
    return sum(count for cell, count in present.items() if check(cell))


def _date_format(present: Counter[str]) -> tuple[str, int]:
    # A few hundred cells tell which formats are worth a look at all of them.
    head = Counter(dict(present.most_common(300)))
    likely = {form: _reads(head, form) for form in DATE_FORMATS}
    best, read = max(likely.items(), key=lambda one: one[1])
    if read < 0.5 * head.total():
        return best, 0
    whole = {form: _reads(present, form) for form, count in likely.items() if count >= 0.5 * read}
    return max(whole.items(), key=lambda one: one[1])


def _reads(present: Counter[str], form: str) -> int:
    """How many cells are dates in this form."""
    return _readable(present, lambda cell: parse_date(cell, form) is not None)


def _words(present: Iterable[str]) -> float:
    counts = [len(cell.split()) for cell in present]
    return sum(counts) / len(counts)


def _facts(column: Column, present: Counter[str]) -> dict[str, Any]:
    """For numbers and dates the range, for the others the most frequent cells; an example of each."""
    if not present:
        return {}
    common = [[cell[:100], count] for cell, count in present.most_common(8)]
    facts: dict[str, Any] = {"examples": [cell for cell, _ in common[:5]]}
    if column.type == "number":
        values = sorted(value for value in map(parse_number, present) if value == value)
        facts |= {"min": values[0], "max": values[-1], "median": values[len(values) // 2]}
    elif column.type == "date":
        moments = sorted(moment for cell in present if (moment := parse_date(cell, column.format)))
        facts |= {"from": moments[0].isoformat(), "to": moments[-1].isoformat()}
    elif column.type == "category":
        facts["top"] = common
    return facts


_REASONS = {
    "empty": "every cell is empty",
    "constant": "every cell is the same",
    "id": "every cell is different, as ids are",
    "text": "it holds free text",
}


def tell(issues: Issues, columns: list[Column], rows: int) -> None:
    """The data doctor's findings about columns; their line is the header's."""
    for column in columns:
        name = column.name
        if column.type == "ignored":
            issues.add("column_ignored", "warning", line=1, column=name, value=f"{name}: {_REASONS[column.reason]}")
            continue
        if column.odd:
            issues.add(
                "cell_odd",
                "warning",
                line=1,
                column=name,
                value=f"{name}: {column.odd:,} are no {column.type}",
                count=0,
            )
            issues.add("cell_odd", "warning", count=column.odd)
        if column.ambiguous:
            value = f"{name}: {column.facts['examples'][0]}"
            issues.add("date_ambiguous", "warning", line=1, column=name, value=value)
        if column.missing > _GAPS * rows:
            value = f"{name}: {column.missing:,} of {rows:,} cells are empty"
            issues.add("column_gaps", "warning", line=1, column=name, value=value)
        top = column.facts.get("top") or []
        if top and top[0][1] >= _NEARLY_CONSTANT * rows:
            value = f"{name}: {top[0][1]:,} of {rows:,} cells are {top[0][0]!r}"
            issues.add("column_nearly_constant", "info", line=1, column=name, value=value)
