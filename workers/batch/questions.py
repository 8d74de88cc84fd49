"""What of a row is asked: from the columns of a file to the raw input that a predictor takes, by kind of data."""

import itertools
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from workers.contracts.errors import JobError
from workers.contracts.job import BatchSpec
from workers.inference.core import InputError
from workers.ingest import cells
from workers.ingest.columns import find, guess

# What separates the items of a cell that is no JSON list.
_BETWEEN_ITEMS = re.compile(r"[|;,\n\t]")


class Question(NamedTuple):
    """The columns that are read, and what makes a raw input of a row's values in them. `ask` raises InputError."""

    columns: list[str]
    ask: Callable[..., Any]
    # Columns of the model that the file does not have: answered as missing values.
    missing: tuple[str, ...] = ()


def tried(make: Callable[..., Any], *columns: Iterable[Any]) -> tuple[list[Any], dict[int, str]]:
    """What is made of each row of some columns; where that raises InputError it is None, and the message is in the
    second by the row's place."""
    made: list[Any] = []
    errors: dict[int, str] = {}
    rows = zip(*columns, strict=True)
    while True:
        try:
            # What was made before an error stays, and the rows go on behind it.
            made.extend(itertools.starmap(make, rows))
        except InputError as error:
            errors[len(made)] = error.message
            made.append(None)
        else:
            return made, errors


def question(spec: BatchSpec, manifest: dict[str, Any], columns: list[str], head: list[list[str]]) -> Question:
    """The question to a table of these columns. Raises JobError `column_missing`."""
    return _QUESTIONS[spec.kind](spec, manifest, columns, head)


def _text(spec: BatchSpec, manifest: dict[str, Any], columns: list[str], head: list[list[str]]) -> Question:
    if manifest["preprocessing"].get("pairs"):
        return _pair(spec, columns, head)
    column = _chosen(spec, "text", columns) or (columns[0] if len(columns) == 1 else None)
    column = column or guess("text", columns, head).get("text")
    if column is None:
        raise _missing("Which column holds the text cannot be told.", columns)
    return Question([column], cells.cell_text)


def _pair(spec: BatchSpec, columns: list[str], head: list[list[str]]) -> Question:
    chosen = {role: _chosen(spec, role, columns) for role in ("text", "text_pair")}
    found = guess("text", columns, head, {role: column for role, column in chosen.items() if column})
    for role in chosen:
        if role not in found:
            raise _missing(f"The model takes pairs of texts; which column holds the {role} cannot be told.", columns)

    def ask(text: Any, pair: Any) -> dict[str, str]:
        return {"text": cells.cell_text(text), "text_pair": cells.cell_text(pair)}

    return Question([found["text"], found["text_pair"]], ask)


def _ranking(spec: BatchSpec, manifest: dict[str, Any], columns: list[str], head: list[list[str]]) -> Question:
    options = {} if spec.k is None else {"k": spec.k}
    if items := _chosen(spec, "items", columns):
        return Question([items], lambda cell: {"items": _items(cell), **options})
    user = _chosen(spec, "user", columns) or guess("recommendation", columns, head).get("user")
    user = user or (columns[0] if len(columns) == 1 else None)
    if user is None:
        raise _missing("Which column holds the user cannot be told.", columns)
    return Question([user], lambda cell: {"user": _user(cell), **options})


def _row(spec: BatchSpec, manifest: dict[str, Any], columns: list[str], head: list[list[str]]) -> Question:
    wanted: list[str] = [column["name"] for column in manifest["preprocessing"]["columns"]]
    found = {name: _chosen(spec, name, columns) or find(name, columns) for name in wanted}
    there = {name: column for name, column in found.items() if column}
    if not there:
        raise _missing(f"The file has none of the model's columns: {', '.join(wanted[:50])}.", columns)
    names = list(there)

    def ask(*values: Any) -> dict[str, str]:
        return dict(zip(names, map(cells.cell_text, values), strict=True))

    return Question(list(there.values()), ask, tuple(name for name in wanted if name not in there))


def _image(spec: BatchSpec, manifest: dict[str, Any], columns: list[str], head: list[list[str]]) -> Question:
    raise JobError("format_unknown", "Images come as a zip or tar.", hint="Zip the images and upload the zip.")


_QUESTIONS: dict[str, Callable[[BatchSpec, dict[str, Any], list[str], list[list[str]]], Question]] = {
    "text": _text,
    "recommendation": _ranking,
    "tabular": _row,
    "image": _image,
}


def _chosen(spec: BatchSpec, role: str, columns: list[str]) -> str | None:
    """The column that the user chose for a role, None where they chose none. Raises JobError for one that is not."""
    asked = spec.mapping.get(role)
    if not asked:
        return None
    column = find(asked, columns)
    if column is None:
        raise _missing(f'There is no column "{asked[:80]}" for {role[:80]}.', columns)
    return column


def _missing(message: str, columns: list[str]) -> JobError:
    listed = "Columns in the file: " + ", ".join(columns[:50])
    return JobError("column_missing", message, hint="Send the file again and choose its columns.", evidence=listed)


def _user(value: Any) -> str:
    # As an import keeps users: the model knows them by that.
    user = cells.name(cells.cell_text(value))
    if not user:
        raise InputError(None, "The user is missing.")
    return user


def _items(value: Any) -> list[str]:
    """Items of a cell: a list, a JSON list, or names with one of | ; , between them."""
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else _BETWEEN_ITEMS.split(text)
        except ValueError:
            value = _BETWEEN_ITEMS.split(text)
    if not isinstance(value, list):
        value = [value]
    items = [cells.name(cells.cell_text(item)) for item in value]
    if not any(items):
        raise InputError(None, "The items are missing.")
    return [item for item in items if item]
