"""JSON objects as records: nested ones by path (`review.text`), tasks of Label Studio by their answers."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from workers.ingest.cells import cell_text
from workers.ingest.records import Problem, Record, text_problem

# Columns are the fields of the first objects, in order of appearance.
_MAX_COLUMNS = 1000
# What lies deeper is one cell, as JSON.
_MAX_DEPTH = 5
# Where Label Studio keeps a task's annotations; older versions called them completions.
_ANNOTATIONS = ("annotations", "completions")


def load(text: str) -> Any:
    """The value of a JSON text; None for what is none."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def columns(texts: Iterable[str]) -> list[str]:
    """The columns of some objects; a text that is no object has none. An object that others have and that is empty or
    null here is no column beside its fields'."""
    # Whether a name had a value.
    names: dict[str, bool] = {}
    for text in texts:
        value = load(text)
        if isinstance(value, dict):
            for name, inner in flat(value).items():
                if "\0" not in name:
                    names[name] = names.get(name, False) or inner not in (None, {})
    inside = {name[:at] for name in names for at, sign in enumerate(name) if sign == "."}
    return [name for name, has_value in names.items() if has_value or name not in inside][:_MAX_COLUMNS]


def parse(text: str) -> dict[str, Any] | Problem:
    """The object of a JSON text as it is, or what is wrong with the text."""
    raw = text.strip()
    if problem := text_problem([raw]):
        return problem._replace(value=raw)
    value = load(raw)
    if isinstance(value, dict):
        return value
    what = "This is no valid JSON." if value is None else "This is JSON, but no object."
    return Problem("row_malformed", what, value=raw)


def record(line: int, text: str, columns: list[str]) -> Record:
    """The record of an object that begins on `line`, or what is wrong with its text."""
    value = parse(text)
    if isinstance(value, Problem):
        return Record(line, [text.strip()[:1000]], value)
    found = flat(value)
    fields = [_cell(found.get(name)) for name in columns]
    return Record(line, fields, text_problem(fields))


def _cell(value: Any) -> str:
    """A nested value matters only where a role is mapped to it, so it is told as text."""
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else cell_text(value)


def flat(value: dict[str, Any]) -> dict[str, Any]:
    """An object's values by the names of the columns that they are in."""
    if "data" in value and isinstance(value["data"], dict) and any(name in value for name in _ANNOTATIONS):
        return {**_plain(value["data"]), **_answers(value)}
    return _plain(value)


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """The object without objects in it: each of their values by its path."""
    if not any(isinstance(inner, dict) for inner in value.values()):
        return value
    return dict(_paths(value, "", 1))


def _paths(value: dict[str, Any], before: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner and depth < _MAX_DEPTH:
            yield from _paths(inner, f"{before}{name}.", depth + 1)
        else:
            yield before + name, inner


def _answers(task: dict[str, Any]) -> dict[str, Any]:
    """A task's answers by the name of the question: of the reference annotation, else of the first that counts.

    Format: Label Studio's JSON export, results of type choices, rating and taxonomy.
    """
    given: list[Any] = next((task[name] for name in _ANNOTATIONS if isinstance(task.get(name), list)), [])
    counted = [one for one in given if isinstance(one, dict) and not one.get("was_cancelled")]
    counted.sort(key=lambda one: not one.get("ground_truth"))
    answers: dict[str, Any] = {}
    for result in counted[0].get("result") or [] if counted else []:
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and (answer := _answer(value)) is not None:
            answers[str(result.get("from_name") or "label")] = answer
    return answers


def _answer(value: dict[str, Any]) -> Any:
    if "rating" in value:
        return value["rating"]
    chosen = value.get("choices")
    if chosen is None and isinstance(value.get("taxonomy"), list):
        chosen = [" / ".join(map(str, path)) for path in value["taxonomy"] if isinstance(path, list)]
    if not isinstance(chosen, list) or not chosen:
        return None
    return chosen[0] if len(chosen) == 1 else chosen
