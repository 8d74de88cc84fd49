"""A look at the first rows of an upload, for the import form: cheap, bounded, and in a process of its own.

python -m workers.ingest.preview FILENAME OPTIONS [PATH] (the head's bytes on stdin without a path; OPTIONS are
FileOptions as JSON) prints JSON:
{"format", "encoding", "delimiter", "header" (whether the first row names the columns, null where that is no question),
"first_line" (the line that this row is), "top": [{"line", "text"}] (the first rows, also those above the table),
"sheet", "sheets": [names of all that have rows],
"columns": [{"name", "type"}], "rows": [[cell, …], …] (at most 20; cells of the first 100 columns, in their order),
"columns_left_out": {a column that is not read: what it holds},
"problems": [{"line", "code", "message"}], "mapping_guess", "kind_guess", "mapping_guesses": {kind: …},
"separator_guesses": {column: what seems to part several labels in its cells},
"empty_labels": {column of several labels: how many of the first rows have none there}}
or {"error": {"code", "message", "hint", "evidence"}}.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from workers.contracts.errors import JobError, SlipwayError, UserError
from workers.contracts.job import GUESSED, FileOptions, IngestLimits
from workers.ingest import guard

HEAD_BYTES = 1 << 18
_ROWS = 20
# So many columns can be chosen; of so many cells are shown.
_COLUMNS, _SHOWN_COLUMNS = 1000, 100
_CELL_CHARS = 500
_LINE_CHARS = 100
_PROBLEMS = 5
_CPU_SECONDS = 10
_IMAGES = [{"name": "image", "type": "image"}, {"name": "label", "type": "text"}]
_ROOT = Path(__file__).resolve().parents[2]


def preview(source: Path | bytes, filename: str, options: FileOptions = GUESSED) -> dict[str, Any]:
    """What the first rows of a file say (see the module). Reads at most 256 KB, of a Parquet file one batch.

    Raises JobError: file_empty, format_unknown, encoding_unknown, file_unreadable, no_rows, …
    """
    from workers.ingest import compression, sniff, unpack

    head, whole = (source[:HEAD_BYTES], len(source) < HEAD_BYTES) if isinstance(source, bytes) else _head(source)
    format = sniff.sniff(head, filename)
    if format == "compressed":
        inner = compression.head(head, HEAD_BYTES)
        return preview(inner, compression.inner_name(filename), options) | {"format": format}
    if format in sniff.ARCHIVES:
        if first := unpack.first_table(head, format):
            name, content = first
            return preview(content[:HEAD_BYTES], name, options) | {"format": format}
        if unpack.begins_with_table(head):
            return _answer(format, {}, [], kind="text")
        return _answer(format, {}, _IMAGES, kind="image")
    if format in ("parquet", "sheet"):
        if isinstance(source, bytes):
            # What the columns are stands at the end.
            return _answer(format, {}, [], kind="text")
        if format == "parquet" and _holds_images(source):
            return _answer(format, {}, _IMAGES, kind="image")
        return _table(source, format, filename, options)
    return _table(head if whole else head[: head.rfind(b"\n") + 1] or head, format, filename, options)


def needs_whole(head: bytes) -> bool:
    """Whether what is in a file stands elsewhere than at its beginning: Parquet, spreadsheets."""
    from workers.ingest.sniff import OFFICE, OLD_OFFICE

    return head.startswith((b"PAR1", OLD_OFFICE)) or (head.startswith(b"PK") and head[30:].startswith(OFFICE))


def _head(path: Path) -> tuple[bytes, bool]:
    with open(path, "rb") as stream:
        head = stream.read(HEAD_BYTES)
    return head, len(head) < HEAD_BYTES


def _holds_images(path: Path) -> bool:
    from workers.ingest.archives.parquet_images import holds_images

    return holds_images(path)


def _answer(format: str, facts: dict[str, Any], columns: list[dict[str, str]], kind: str) -> dict[str, Any]:
    return {
        "format": format,
        "encoding": facts.get("encoding"),
        "delimiter": facts.get("delimiter"),
        "header": facts.get("header"),
        "first_line": None,
        "top": [],
        "sheet": facts.get("sheet"),
        "sheets": [],
        "columns": columns,
        "rows": [],
        "columns_left_out": facts.get("columns_left_out", {}),
        "problems": [],
        "mapping_guess": {},
        "mapping_guesses": {},
        "separator_guesses": {},
        "empty_labels": {},
        "kind_guess": kind,
    }


def _table(source: Path | bytes, format: Any, filename: str, options: FileOptions) -> dict[str, Any]:
    from collections import Counter
    from itertools import islice

    from workers.contracts.kinds import KINDS
    from workers.ingest.columns import guess, kind_of, type_of
    from workers.ingest.label_sets import guess_separator, hold_lists
    from workers.ingest.readers import open_table
    from workers.ingest.reading import MAX_LABEL_CHARS
    from workers.ingest.records import printable

    table = open_table(source, format, filename, IngestLimits(), options)
    names, rows = table.columns[:_COLUMNS], [fields[:_COLUMNS] for fields in table.head]
    types = [type_of([row[place] for row in rows]) for place in range(len(names))]
    columns = [{"name": name, "type": type} for name, type in zip(names, types, strict=True)]
    kind = kind_of(names, rows)
    answer = _answer(format, table.facts, columns, kind)
    answer["rows"] = [[printable(cell[:_CELL_CHARS]) for cell in row[:_SHOWN_COLUMNS]] for row in rows[:_ROWS]]
    answer["first_line"], answer["sheets"] = table.first_line, list(table.sheets)
    answer["top"] = [{"line": line, "text": _line(fields)} for line, fields, _ in table.top]
    # What stands above the table is no problem to those who see where it begins.
    first = table.first_line or 0
    bad = (record for record in islice(table.records(), 500) if record.problem and record.line >= first)
    for line, _, problem in islice(bad, _PROBLEMS):
        if problem:
            answer["problems"].append({"line": line, "code": problem.code, "message": problem.message})
    answer["mapping_guesses"] = {one: guess(one, names, rows) for one, data in KINDS.items() if not data.archive}
    answer["mapping_guess"] = answer["mapping_guesses"][kind]
    for place, name in enumerate(names):
        cells = [row[place] for row in rows]
        separator = guess_separator(Counter(cell for cell in cells if len(cell) <= MAX_LABEL_CHARS))
        if separator:
            answer["separator_guesses"][name] = separator
        if separator or hold_lists(cells):
            answer["empty_labels"][name] = sum(not cell.strip() for cell in cells)
    table.close()
    return answer


def _line(fields: list[str]) -> str:
    from workers.ingest.records import printable

    return printable(" | ".join(filter(None, map(str.strip, fields)))[:_LINE_CHARS])


def preview_in_child(
    source: Path | bytes, filename: str, options: FileOptions = GUESSED, timeout: float = 10.0
) -> dict[str, Any]:
    """`preview` in a process with bounded memory and time, for use by the web process. Raises UserError."""
    command = [sys.executable, "-m", "workers.ingest.preview", filename.replace("\0", "")[:255]]
    command.append(options.model_dump_json())
    if isinstance(source, Path):
        command.append(str(source.resolve()))
    try:
        done = subprocess.run(
            command,
            input=source[:HEAD_BYTES] if isinstance(source, bytes) else b"",
            capture_output=True,
            timeout=timeout,
            cwd=_ROOT,
            env={"PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise UserError("file_unreadable", "Looking into the file takes too long.") from None
    except ValueError:
        # It was killed by one of its limits.
        raise UserError("file_unreadable", evidence="The preview ended without an answer.") from None
    if error := answer.get("error"):
        raise UserError(error["code"], error["message"], hint=error["hint"], evidence=error["evidence"])
    return dict(answer)


def main(arguments: list[str]) -> int:
    """Print the preview of argument 3, or of stdin, whose owner calls it by argument 1."""
    filename, said, *path = arguments
    source: Path | bytes = Path(path[0]) if path else sys.stdin.buffer.read(HEAD_BYTES)
    try:
        answer = preview(source, filename, FileOptions.model_validate_json(said))
    except SlipwayError as error:
        answer = {"error": error.card().model_dump()}
    except MemoryError:
        answer = {"error": JobError("file_unreadable", "The file takes too much memory.").card().model_dump()}
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    guard.quiet_libraries()
    guard.bound_preview(_CPU_SECONDS)
    sys.exit(main(sys.argv[1:]))
