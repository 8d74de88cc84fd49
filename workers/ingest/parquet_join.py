"""Columns that were encoded at different times, as one Parquet file: nothing is encoded again, only the footer is new.

A column chunk may lie anywhere in a file, wherever the footer says that it is; the fields that say it are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift, by their numbers.
"""

import base64
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa

from workers.ingest import thrift
from workers.ingest.thrift import Struct

_MAGIC: Final = b"PAR1"
# FileMetaData
_SCHEMA, _ROW_GROUPS, _KEY_VALUES, _ORDERS = 2, 4, 5, 7
# SchemaElement
_NAME, _CHILDREN = 4, 5
# RowGroup
_COLUMNS, _BYTES, _ROWS, _FIRST_PAGE, _PACKED_BYTES = 1, 2, 3, 5, 6
# ColumnChunk, and its ColumnMetaData: where something is in the file
_CHUNK_PLACES, _META, _META_PLACES = (2, 4, 6), 3, (9, 10, 11, 14)


class _Column(NamedTuple):
    """A column of the schema: its elements, and where its leaves are among all of the file."""

    elements: list[Struct]
    leaves: slice


def add_columns(path: Path, other: Path, schema: pa.Schema) -> None:
    """Add the columns of another Parquet file, whose row groups are as large, in the order of `schema`."""
    with open(path, "r+b") as file, open(other, "rb") as added:
        first, end = _footer(file)
        second, added_end = _footer(added)
        file.seek(end)
        file.truncate()
        added.seek(len(_MAGIC))
        shutil.copyfileobj(added, file, 1 << 20)
        # What came along with the columns is the other's footer.
        file.seek(end + added_end - len(_MAGIC))
        file.truncate()
        footer = thrift.dumps(_joined(first, second, end - len(_MAGIC), schema))
        file.write(footer + len(footer).to_bytes(4, "little") + _MAGIC)


def _footer(file: BinaryIO) -> tuple[Struct, int]:
    """What the footer says, and where it begins."""
    end = file.seek(-8, os.SEEK_END)
    size = int.from_bytes(file.read(4), "little")
    file.seek(end - size)
    return thrift.Reader(file.read(size)).struct(), end - size


def _joined(first: Struct, second: Struct, shift: int, schema: pa.Schema) -> Struct:
    columns, others = _columns(first), _columns(second)

    def merged(mine: list[Any], theirs: list[Any]) -> list[Any]:
        """What there is of each leaf, in the order of the schema."""
        return [
            one
            for name in schema.names
            for one in (mine[columns[name].leaves] if name in columns else theirs[others[name].leaves])
        ]

    root = first[_SCHEMA][1][1][0] | {_CHILDREN: (thrift.INT32, len(schema.names))}
    elements = [one for name in schema.names for one in (columns.get(name) or others[name]).elements]
    groups = [
        _joined_group(mine, theirs, shift, merged)
        for mine, theirs in zip(first[_ROW_GROUPS][1][1], second[_ROW_GROUPS][1][1], strict=True)
    ]
    encoded = base64.b64encode(schema.serialize().to_pybytes())
    told = {1: (thrift.BINARY, b"ARROW:schema"), 2: (thrift.BINARY, encoded)}
    footer = first | {
        _SCHEMA: (first[_SCHEMA][0], (thrift.STRUCT, [root, *elements])),
        _ROW_GROUPS: (first[_ROW_GROUPS][0], (thrift.STRUCT, groups)),
        _KEY_VALUES: (first[_SCHEMA][0], (thrift.STRUCT, [told])),
    }
    orders = first[_ORDERS][1][1], second[_ORDERS][1][1]
    return footer | {_ORDERS: (first[_ORDERS][0], (thrift.STRUCT, merged(*orders)))}


def _columns(footer: Struct) -> dict[str, _Column]:
    elements = footer[_SCHEMA][1][1]
    columns: dict[str, _Column] = {}
    at, leaf = 1, 0
    while at < len(elements):
        start, first_leaf, open_nodes = at, leaf, 1
        while open_nodes:
            children = elements[at].get(_CHILDREN, (0, 0))[1]
            leaf += not children
            open_nodes += children - 1
            at += 1
        columns[elements[start][_NAME][1].decode()] = _Column(elements[start:at], slice(first_leaf, leaf))
    return columns


def _joined_group(mine: Struct, theirs: Struct, shift: int, merged: Any) -> Struct:
    if mine[_ROWS] != theirs[_ROWS]:
        raise ValueError("the row groups are of different sizes")
    moved = [_moved(chunk, shift) for chunk in theirs[_COLUMNS][1][1]]
    group = mine | {_COLUMNS: (mine[_COLUMNS][0], (thrift.STRUCT, merged(mine[_COLUMNS][1][1], moved)))}
    for size in (_BYTES, _PACKED_BYTES):
        group[size] = (thrift.INT64, mine[size][1] + theirs[size][1])
    # The columns of a group are not in one piece.
    group.pop(_FIRST_PAGE, None)
    return group


def _moved(chunk: Struct, shift: int) -> Struct:
    """A column chunk that lies further back."""
    meta = _shifted(chunk[_META][1], _META_PLACES, shift)
    return _shifted(chunk, _CHUNK_PLACES, shift) | {_META: (thrift.STRUCT, meta)}


def _shifted(struct: Struct, places: tuple[int, ...], shift: int) -> Struct:
    # 0 is no place in a Parquet file: where it stands nothing is told.
    return struct | {
        place: (struct[place][0], struct[place][1] + shift) for place in places if place in struct and struct[place][1]
    }
