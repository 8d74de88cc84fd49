"""What a repair would do to a version, without doing it."""

from typing import Any, Final, NamedTuple

import numpy as np

from workers.ingest.edits import Edit
from workers.ingest.repairs import Repair
from workers.ingest.splits import Ints
from workers.ingest.version import Version

_EXAMPLES: Final = 5
# Of texts so many are looked at for examples, and so many characters: somebody waits for it.
_LOOKED_AT: Final = 1000
_LOOKED_AT_CHARS: Final = 2_000_000
_TEXTS: Final = ("text", "text_pair")
_SHOWN: Final = (*_TEXTS, "name", "user", "item", "values", "label")
_CHARS: Final = 500


class Preview(NamedTuple):
    """How many rows go, get another label or another text; and of the first ones {"row", "before", "after"}: cells by
    column, `after` None where the row goes."""

    dropped: int
    relabelled: int
    changed: int
    examples: list[dict[str, Any]]

    @property
    def rows(self) -> int:
        """How many rows are touched."""
        return self.dropped + self.relabelled + self.changed


def preview(version: Version, repair: Repair) -> Preview:
    """Look at what a repair would do. Of texts the rows with the finding are counted, though not all may be curable."""
    edit = repair.plan(version)
    dropped = np.empty(0, np.int64) if edit.drop is None else np.flatnonzero(edit.drop)
    relabelled = _relabelled(version, edit)
    found = version.found(repair.code) if edit.mend else np.empty(0, np.int64)
    changed = found
    if edit.mend:
        texts = _first_texts(version, found[:_LOOKED_AT].tolist())
        curable = np.array([any(edit.mend(text) != text for text in row.values()) for row in texts], np.bool_)
        changed = found[: len(curable)][curable]
        # All that was looked at can be told for sure; the rest only where there is no rest.
        found = changed if len(curable) == len(found) else found
    rows = [*changed[:_EXAMPLES].tolist(), *relabelled[:_EXAMPLES].tolist(), *dropped[:_EXAMPLES].tolist()]
    return Preview(len(dropped), len(relabelled), len(found), _examples(version, edit, rows[:_EXAMPLES]))


def _first_texts(version: Version, rows: list[int]) -> list[dict[str, str]]:
    """The texts of the first of these rows; twice as many at a time, until there are too many characters."""
    columns = [name for name in _TEXTS if name in version.schema.names]
    texts: list[dict[str, str]] = []
    chars, step = 0, _EXAMPLES
    while len(texts) < len(rows) and chars < _LOOKED_AT_CHARS:
        for row in version.at(rows[len(texts) : len(texts) + step], columns):
            if chars < _LOOKED_AT_CHARS:
                texts.append(row)
                chars += sum(map(len, row.values()))
        step *= 2
    return texts


def _relabelled(version: Version, edit: Edit) -> Ints:
    if not edit.labels and not edit.renamed:
        return np.empty(0, np.int64)
    names, codes = version.labels
    rows = np.array(sorted(row for row, label in edit.labels.items() if names[codes[row]] != label), np.int64)
    renamed = np.array([name in edit.renamed for name in names], np.bool_)
    found: Ints = np.union1d(rows, np.flatnonzero(renamed[codes]))
    return found if edit.drop is None else found[~edit.drop[found]]


def _examples(version: Version, edit: Edit, rows: list[int]) -> list[dict[str, Any]]:
    columns = [name for name in _SHOWN if name in version.schema.names]
    found = []
    for row, cells in zip(rows, version.at(rows, columns), strict=True):
        before = {name: _shown(value) for name, value in cells.items()}
        after = dict(before)
        for name, change in (("label", edit.label), ("text", edit.text), ("text_pair", edit.text_pair)):
            if name in cells:
                after[name] = _shown(change(row, cells[name]))
        gone = edit.drop is not None and edit.drop[row]
        found.append({"row": row, "before": before, "after": None if gone else after})
    return found


def _shown(value: Any) -> str:
    text = ", ".join(value.values()) if isinstance(value, dict) else str(value)
    return text if len(text) <= _CHARS else text[: _CHARS - 1] + "…"
