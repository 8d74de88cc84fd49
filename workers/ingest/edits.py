"""Edits of a version: rows get other labels, texts or splits, or are dropped; nothing is added.

An edited version is imported like a file is, by the same code and under the eyes of the same doctor, only that its rows
come out of the earlier version's data.parquet. Which row each of them was is kept in lineage.parquet.
"""

import csv
import datetime as dt
import itertools
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.ingest.archives.entries import Archive, Entry
from workers.ingest.context import Import
from workers.ingest.image_lists import Lists
from workers.ingest.image_look import Known, Looks
from workers.ingest.parquet_out import OURS
from workers.ingest.records import HEAD_RECORDS, Problem, Record, Table
from workers.ingest.splits import Ints
from workers.ingest.version import Mask, Version

LINEAGE: Final = "lineage.parquet"
LINEAGE_SCHEMA: Final = pa.schema([("row", pa.int32())])
_BATCH_ROWS: Final = 2048
_BATCH_IMAGES: Final = 16
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Edit:
    """What becomes of the rows of a version.

    `drop`: which rows go, one bool each. `labels`, `texts`, `pairs` (second texts) and `splits`: row → its new one.
    `renamed`: label → another, in all rows. `mend`: every text is what this makes of it.
    """

    drop: Mask | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    texts: Mapping[int, str] = field(default_factory=dict)
    pairs: Mapping[int, str] = field(default_factory=dict)
    splits: Mapping[int, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    mend: Callable[[str], str] | None = None

    def label(self, row: int, label: str) -> str:
        """The label of a row that had this one."""
        return self.labels.get(row) or self.renamed.get(label, label)

    def text(self, row: int, text: str) -> str:
        """The text of a row that had this one."""
        return self._mended(self.texts.get(row, text))

    def text_pair(self, row: int, text: str) -> str:
        """The second text of a row that had this one."""
        return self._mended(self.pairs.get(row, text))

    def _mended(self, text: str) -> str:
        return self.mend(text) if self.mend else text

    def split(self, row: int, split: str) -> str:
        """The split of a row that had this one."""
        return self.splits.get(row, split)


class Edited:
    """The rows of a version as they are after an edit, and a count of what the edit does, complete at the end."""

    def __init__(self, version: Version, edit: Edit) -> None:
        self._version, self._edit = version, edit
        self._begin()

    def _begin(self) -> None:
        self.parents = array("i")
        self.seen = 0
        self.counts = dict.fromkeys(("dropped", "relabelled", "changed", "moved"), 0)

    def rows(self, columns: list[str], batch_rows: int) -> Iterator[dict[str, Any]]:
        """The rows that stay, from the first each time this is called."""
        self._begin()
        for batch in self._version.batches(columns, batch_rows):
            for row in batch.to_pylist():
                number, self.seen = self.seen, self.seen + 1
                if self._edit.drop is not None and self._edit.drop[number]:
                    self.counts["dropped"] += 1
                    continue
                self.parents.append(number)
                yield self._applied(number, row)

    def _applied(self, number: int, row: dict[str, Any]) -> dict[str, Any]:
        happened = set()
        for name, count, change in (
            ("label", "relabelled", self._edit.label),
            ("text", "changed", self._edit.text),
            ("text_pair", "changed", self._edit.text_pair),
            ("split", "moved", self._edit.split),
        ):
            if name in row and (new := change(number, row[name])) != row[name]:
                row[name] = new
                happened.add(count)
        for count in happened:
            self.counts[count] += 1
        return row

    def fraction(self) -> float:
        """By rows."""
        return self.seen / max(1, self._version.rows)


class EditedTable(Table):
    """The rows of a version without images. A record's line is its row, counted from 0; `mapping`: role → column."""

    format = "edit"

    def __init__(self, edited: Edited, schema: pa.Schema, mapping: Mapping[str, str]) -> None:
        self.facts = {}
        self._edited = edited
        self._roles = [name for name in schema.names if name not in (*OURS, "values", "labels")]
        self._values = [one.name for one in schema.field("values").type] if "values" in schema.names else []
        self.mapping = _names(self._roles, self._values, mapping)
        self.columns = [*self.mapping.values(), *self._values]
        self.head = [record.fields for record in itertools.islice(self.records(), HEAD_RECORDS)]

    def records(self) -> Iterator[Record]:
        """Every row that stays."""
        columns = [*self._roles, *(["values"] if self._values else [])]
        for number, row in enumerate(self._edited.rows(columns, _BATCH_ROWS)):
            values = [row["values"][name] for name in self._values] if self._values else []
            yield Record(number, [*(_cell(name, row[name]) for name in self._roles), *values])

    def fraction(self) -> float:
        """By rows."""
        return self._edited.fraction()

    def close(self) -> None:
        """Nothing: the version is its owner's."""


class EditedImages(Archive):
    """The images of a version as an archive; their labels and splits go to `lists`. With the version's `looks` none of
    them need be decoded."""

    def __init__(self, edited: Edited, lists: Lists, looks: Looks | None) -> None:
        self._edited, self._lists, self._looks = edited, lists, looks

    def __iter__(self) -> Iterator[Entry]:
        columns = ["name", "label", "split", "image", "hash", "format", "width", "height"]
        for number, row in enumerate(self._edited.rows(columns, _BATCH_IMAGES)):
            self._lists.add(row["name"], row["label"], row["split"])
            image = _Image(number, row["name"], row["image"])
            if self._looks:
                facts = (row["hash"], row["format"], row["width"], row["height"])
                image.known = Known(*facts, self._looks, self._edited.parents[-1])
            yield image

    def fraction(self) -> float:
        """By rows."""
        return self._edited.fraction()

    def close(self) -> None:
        """Nothing: the version is its owner's."""


class _Image(Entry):
    def __init__(self, number: int, name: str, data: bytes) -> None:
        super().__init__(number, name)
        self._data = data

    def write_to(self, target: BinaryIO, limit: int) -> Problem | None:
        """Copy the image's bytes."""
        target.write(self._data)
        return None


def write_lineage(ctx: Import, edited: Edited) -> Ints:
    """Which row of the earlier version each row was: those that came through, less those that the import refused."""
    ctx.close_rejects()
    with open(ctx.job_dir.output / "errors.csv", encoding="utf-8", newline="") as stream:
        refused = [int(line["line"]) for line in csv.DictReader(stream)]
    parents: Ints = np.delete(np.frombuffer(edited.parents, np.int32), refused)
    column = pa.array(parents, pa.int32())
    pq.write_table(pa.table([column], schema=LINEAGE_SCHEMA), ctx.job_dir.output / LINEAGE, compression="zstd")
    return parents


def _names(roles: list[str], taken: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """The column that each role had in the file, or a free name where there was none."""
    found: dict[str, str] = {}
    for role in roles:
        name = mapping.get(role, role)
        while name in taken or name in found.values():
            name += "_"
        found[role] = name
    return found


def _cell(role: str, value: Any) -> str:
    """A stored value as a cell that an import reads back as the same."""
    if role == "timestamp":
        # As a number it would be taken for milliseconds, or for a day, where it is large or small.
        return (_EPOCH + dt.timedelta(seconds=value)).isoformat()
    if role == "rating":
        return str(np.float32(value))
    return str(value)
