"""Rows of a file as they are, to be written with their answers: of each kind of file what it keeps of a row.

Many rows at a time, in columns where the file has some: writing costs no Python object per cell.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from workers.ingest.cells import cell_text


class Rows(ABC):
    """Some rows that follow each other."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def slice(self, start: int, stop: int) -> "Rows":
        """Those from `start` to before `stop`."""

    @abstractmethod
    def joined(self, later: Sequence[Any]) -> "Rows":
        """These and those of the same file that follow."""

    @abstractmethod
    def cells(self) -> pl.DataFrame:
        """As cells of CSV, in the order of the file's columns, which may be called anything: texts and numbers."""

    @abstractmethod
    def objects(self, without: Collection[str]) -> list[bytes]:
        """As JSON objects. Fields called `without` give way to the answer's."""

    @abstractmethod
    def arrays(self) -> list[pa.Array]:
        """As columns of Parquet."""


class TextRows(Rows):
    """Of CSV, sheets and lists of objects: a frame of texts."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __len__(self) -> int:
        return self._frame.height

    def slice(self, start: int, stop: int) -> "TextRows":
        """A view."""
        return TextRows(self._frame.slice(start, stop - start))

    def joined(self, later: "Sequence[TextRows]") -> "TextRows":
        """All frames."""
        return TextRows(pl.concat([self._frame, *(rows._frame for rows in later)], rechunk=True))

    def cells(self) -> pl.DataFrame:
        """The frame."""
        return self._frame

    def objects(self, without: Collection[str]) -> list[bytes]:
        """Every column is a field; answers have other names."""
        return lines_of(self._frame)

    def arrays(self) -> list[pa.Array]:
        """Columns of texts."""
        return [arrow(column, pa.string()) for column in self._frame]


class ObjectRows(Rows):
    """Of JSON Lines: each line as it is, and its values by the file's columns."""

    def __init__(self, columns: Sequence[str], texts: list[str], values: list[dict[str, Any]]) -> None:
        self._columns, self._texts, self._values = columns, texts, values

    def __len__(self) -> int:
        return len(self._texts)

    def slice(self, start: int, stop: int) -> "ObjectRows":
        """A part of the lists."""
        return ObjectRows(self._columns, self._texts[start:stop], self._values[start:stop])

    def joined(self, later: "Sequence[ObjectRows]") -> "ObjectRows":
        """All lists."""
        texts = itertools.chain(self._texts, *(rows._texts for rows in later))
        values = itertools.chain(self._values, *(rows._values for rows in later))
        return ObjectRows(self._columns, list(texts), list(values))

    def cells(self) -> pl.DataFrame:
        """A column for each of the file's; fields that came late have none."""
        columns = [[_text_or_none(values.get(name)) for values in self._values] for name in self._columns]
        return pl.DataFrame([pl.Series(str(at), texts, pl.String) for at, texts in enumerate(columns)])

    def objects(self, without: Collection[str]) -> list[bytes]:
        """The lines."""
        taken = frozenset(without)
        return [
            text.encode() if taken.isdisjoint(values) else _without(text, taken)
            for text, values in zip(self._texts, self._values, strict=True)
        ]

    def arrays(self) -> list[pa.Array]:
        """Columns of texts."""
        return [arrow(column, pa.string()) for column in self.cells()]


class StoredRows(Rows):
    """Of Parquet: columns with their types, which nobody looks at if they stay Parquet."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def slice(self, start: int, stop: int) -> "StoredRows":
        """A view."""
        return StoredRows(self._batch.slice(start, stop - start))

    def joined(self, later: "Sequence[StoredRows]") -> "StoredRows":
        """All batches."""
        return StoredRows(pa.concat_batches([self._batch, *(rows._batch for rows in later)]))

    def cells(self) -> pl.DataFrame:
        """Numbers and texts as they are, all else as text: times in ISO 8601, lists as JSON."""
        return pl.DataFrame([_cells(str(at), column) for at, column in enumerate(self._batch.columns)])

    def objects(self, without: Collection[str]) -> list[bytes]:
        """Every column is a field; answers have other names."""
        return [orjson.dumps(row, default=cell_text) for row in self._batch.to_pylist()]

    def arrays(self) -> list[pa.Array]:
        """The columns."""
        return list(self._batch.columns)


def lines_of(frame: pl.DataFrame) -> list[bytes]:
    """Each row of a frame as a JSON object."""
    return frame.write_ndjson().encode().split(b"\n")[:-1]


def arrow(column: pl.Series, kind: pa.DataType) -> pa.Array:
    """A column as an array of this type."""
    found = column.to_arrow().cast(kind)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _cells(name: str, column: pa.Array) -> pl.Series:
    kind, types = column.type, pa.types
    if any(known(kind) for known in (types.is_string, types.is_large_string, types.is_integer, types.is_floating)):
        return pl.Series(name, column)
    return pl.Series(name, list(map(_text_or_none, column.to_pylist())), pl.String)


def _text_or_none(value: Any) -> str | None:
    if isinstance(value, dict):
        return orjson.dumps(value, default=cell_text).decode()
    return None if value is None else cell_text(value)


def _without(text: str, names: Collection[str]) -> bytes:
    content: dict[str, Any] = orjson.loads(text)
    return orjson.dumps({name: value for name, value in content.items() if name not in names})
