"""Row of a table → label."""

import argparse
import datetime as dt
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workers.inference.core import Bundle, InputError, LabelPredictor

# Cells that say that there is no value, in any case.
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", "#n/a", "(null)", "missing"})
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_AROUND_NUMBERS = " \t\u00a0\u202f$€£¥%"
# How dates are written; the first of equally good ones is taken. "iso" is ISO 8601, also with slashes.
DATE_FORMATS = ("iso", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%Y%m%d", "%d %b %Y", "%b %d, %Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_EPOCH = dt.datetime(1970, 1, 1)
_DAY_S = 86_400


def cell_text(value: Any) -> str:
    """A value of JSON as the cell of a table: 31.0 is "31", true is "true", null is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value."""
    return text.casefold() in MISSING


def parse_number(text: str) -> float:
    """The number that a cell holds, with thousands separators, a decimal comma, a currency or a percent sign as it may
    be; NaN where it holds none."""
    text = text.strip(_AROUND_NUMBERS)
    if not _NUMBER.fullmatch(text):
        if _GROUPED.fullmatch(text):
            text = text.replace(",", "")
        elif _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        else:
            return math.nan
    value = float(text)
    return value if math.isfinite(value) else math.nan


def parse_date(text: str, form: str) -> dt.datetime | None:
    """The moment that a cell holds, in UTC where it names a zone; None where it is not written in this form."""
    if form != "iso":
        for clock in _CLOCKS:
            try:
                return dt.datetime.strptime(text, form + clock)
            except ValueError:
                continue
        return None
    # fromisoformat takes 20240131 too, which is more often a number.
    if len(text) < 8 or text[4:5] not in ("-", "/"):
        return None
    try:
        moment = dt.datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def number_features(column: dict[str, Any]) -> Callable[[str], tuple[float, ...]]:
    """The number itself, NaN where it is missing."""
    return lambda text: (parse_number(text),)


def date_features(column: dict[str, Any]) -> Callable[[str], tuple[float, ...]]:
    """Days since 1970, then sine and cosine of the place in the year, the week and the day; NaN where it is missing."""
    form = column["format"]

    def features(text: str) -> tuple[float, ...]:
        moment = parse_date(text, form)
        if moment is None:
            return (math.nan,) * DATE_WIDTH
        seconds = (moment - _EPOCH).total_seconds()
        year = (moment.timetuple().tm_yday - 1) / 366
        week = (moment.weekday() * _DAY_S + seconds % _DAY_S) / (7 * _DAY_S)
        turns = (year, week, seconds % _DAY_S / _DAY_S)
        waves = [wave(2 * math.pi * turn) for turn in turns for wave in (math.sin, math.cos)]
        return (seconds / _DAY_S, *waves)

    return features


DATE_WIDTH = 7


def category_features(column: dict[str, Any]) -> Callable[[str], tuple[float, ...]]:
    """The category's number: 0 where it is missing, 1 where training did not know it, from 2 on as in `values`."""
    numbers = {name: float(number) for number, name in enumerate(column["values"], 2)}
    return lambda text: (0.0 if is_missing(text) else numbers.get(text, 1.0),)


# How a cell of each type becomes numbers. A new type is a function here.
FEATURES: dict[str, Callable[[dict[str, Any]], Callable[[str], tuple[float, ...]]]] = {
    "number": number_features,
    "date": date_features,
    "category": category_features,
}


class TableLabels(LabelPredictor):
    """Row of a table → label. An item is the row's features, float64 [width], as `columns` of the manifest say.

    A column that is not sent, empty, or holds what is no number or date where one belongs, is a missing value; a
    category that training did not know is the unknown one. Normalisation is in the model.
    """

    input_name = "features"
    inputs_help = 'rows, each as {"column": value}'

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        settings = bundle.manifest["preprocessing"]
        self._columns = [(column["name"], FEATURES[column["type"]](column)) for column in settings["columns"]]
        self._known = {name for name, _ in self._columns}
        # Columns of the data that the model does not look at; they may be sent, and change nothing.
        self._ignored = set(settings["ignored"])

    def prepare(self, raw: Any, index: int = 0) -> np.ndarray:
        """{"column": text, number, true, false or null}."""
        if not isinstance(raw, dict):
            raise InputError(index, 'A row is expected: {"column": value, …}.')
        if unknown := sorted(set(raw) - self._known - self._ignored):
            raise InputError(index, f'There is no column "{unknown[0][:80]}".')
        if not self._known & set(raw):
            raise InputError(index, "The row has none of the model's columns.")
        if nested := [name for name, value in raw.items() if isinstance(value, (dict, list))]:
            raise InputError(index, f'The value of "{nested[0][:80]}" must be a text or a number.')
        return np.array(
            [number for name, features in self._columns for number in features(cell_text(raw.get(name)))], np.float64
        )

    def batch(self, items: Sequence[Any]) -> np.ndarray:
        """Features, float64 [items, width]."""
        return np.stack(items)

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """--row, as often as wished."""
        super().add_arguments(parser)
        parser.add_argument("--row", action="append", default=[], help='{"column": value, …}; may be repeated')

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """Each --row, and each argument without a name, is a row in JSON."""
        return [json.loads(row) for row in [*arguments.row, *arguments.inputs]]
