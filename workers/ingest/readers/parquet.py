"""Parquet, as a stream of batches, after its footer has been held against the file.

A Parquet file of 300 bytes can ask for gigabytes (arrow #49955), and an extension type once ran code (CVE-2023-47248).
So: no encrypted file, no extension type, a footer whose counts and offsets fit the file, only the mapped columns, and
RLIMIT_AS around the process.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.contracts.errors import JobError
from workers.ingest.cells import cell_text
from workers.ingest.columns import clean_header, named
from workers.ingest.records import HEAD_RECORDS, Record, Table, printable, text_problem

_MAX_FOOTER = 64 * 2**20
_MAX_THRIFT = 16 * 2**20
_BATCH_ROWS = 2048
_MAX_DEPTH = 8
_MOST_TOLD = 100
# What is said of columns that are not read.
_OTHERS: dict[str, Callable[[pa.DataType], bool]] = {
    "it holds maps": pa.types.is_map,
    "it holds lists": lambda kind: pa.types.is_nested(kind) and not pa.types.is_struct(kind),
    "it holds bytes": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
}


@contextmanager
def as_unreadable() -> Iterator[None]:
    """Whatever Arrow says of a file that it cannot read, or cannot hold, becomes file_unreadable."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise JobError("file_unreadable", "The Parquet file cannot be read.", evidence=first) from None
    except MemoryError:
        message = "Reading the Parquet file takes more memory than an import may use."
        raise JobError("file_unreadable", message, hint="Write it with smaller row groups.") from None


def open_checked(path: Path, max_rows: int) -> pq.ParquetFile:
    """Open a Parquet file whose footer fits it. Raises JobError file_unreadable, too_many_rows."""
    _check_ends(path)
    with as_unreadable():
        file = pq.ParquetFile(
            path,
            buffer_size=1 << 20,
            pre_buffer=False,
            thrift_string_size_limit=_MAX_THRIFT,
            thrift_container_size_limit=_MAX_THRIFT,
            arrow_extensions_enabled=False,
        )
        _check_footer(file.metadata, path.stat().st_size)
    if file.metadata.num_rows > max_rows:
        raise JobError("too_many_rows", f"The file has more than {max_rows:,} rows.")
    return file


class ParquetTable(Table):
    """A Parquet file. A record's line is its row, counted from 1. Fields of structs are columns by their path
    (`review.body`). Other nested and binary columns take no part, which `facts` tell, but for lists of labels."""

    format = "parquet"

    def __init__(self, path: Path, max_rows: int) -> None:
        self.facts: dict[str, Any] = {}
        self._file = open_checked(path, max_rows)
        self.schema = schema = self._file.schema_arrow
        # As the file has them, in the order of `columns`.
        self.names, others = _columns(schema)
        if others:
            self.facts["columns_left_out"] = {
                printable(name): why for name, why in itertools.islice(others.items(), _MOST_TOLD)
            }
        self._classes = class_names(schema)
        self.columns = clean_header(self.names)
        self._rows: int = self._file.metadata.num_rows
        self._done = 0
        self.head = [record.fields for record in itertools.islice(self.records(), HEAD_RECORDS) if not record.problem]

    def narrow(self, columns: list[str]) -> None:
        """Read only these columns."""
        names = dict(zip(self.columns, self.names, strict=True))
        self.columns = list(columns)
        self.names = [names[column] for column in columns]

    def records(self) -> Iterator[Record]:
        """Every row, from the first, each time."""
        self._done = 0
        for batch in self._batches(self.names):
            with as_unreadable():
                # In the order asked for, which may differ from the file's.
                values = [self.values(batch, name) for name in self.names]
            for row in zip(*values, strict=True):
                self._done += 1
                fields = [cell_text(value) for value in row]
                yield Record(self._done, fields, text_problem(fields))

    def values(self, batch: pa.RecordBatch, name: str) -> list[Any]:
        """A column's values; of numbers that stand for classes, the names."""
        top, *path = [name] if name in batch.schema.names else name.split(".")
        column = batch.column(batch.schema.get_field_index(top))
        values: list[Any] = (pc.struct_field(column, path) if path else column).to_pylist()
        return class_of(values, self._classes[name]) if name in self._classes else values

    def stored(self, start: int = 0) -> Iterator[pa.RecordBatch]:
        """All columns as they are stored, from row `start`."""
        self._done = 0
        for batch in self._batches(None):
            first, self._done = self._done, self._done + batch.num_rows
            if self._done > start:
                yield batch.slice(max(0, start - first))

    def _batches(self, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        with as_unreadable():
            batches = self._file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False)
        while True:
            with as_unreadable():
                batch = next(batches, None)
            if batch is None:
                return
            yield batch

    def fraction(self) -> float:
        """By rows."""
        return self._done / max(1, self._rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes that a column holds the numbers of, as Hugging Face's datasets writes them down."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        plain = {name: _of_one(feature) for name, feature in features.items()}
        classes = {name: one["names"] for name, one in plain.items() if one.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return {name: [str(one) for one in names] for name, names in classes.items() if isinstance(names, list)}


def _of_one(feature: Any) -> Any:
    """What a feature is, or its elements are where it holds lists."""
    if isinstance(feature, list):
        return feature[0]
    inner = feature.get("feature")
    return inner if isinstance(inner, dict) and feature.get("_type") in ("Sequence", "List", "LargeList") else feature


def class_of(values: list[Any], names: list[str]) -> list[Any]:
    """Names for the numbers of classes, also in lists; what is no such number, -1 for "not labelled" among them, has
    none."""
    if any(isinstance(value, list) for value in values):
        return [class_of(value, names) if isinstance(value, list) else None for value in values]
    return [names[value] if isinstance(value, int) and 0 <= value < len(names) else None for value in values]


def _check_ends(path: Path) -> None:
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(4)
        stream.seek(max(0, size - 8))
        tail = stream.read(8)
    if b"PARE" in (start, tail[-4:]):
        raise JobError("file_unreadable", "The Parquet file is encrypted.", hint="Write it without encryption.")
    if size < 12 or start != b"PAR1" or tail[-4:] != b"PAR1":
        raise JobError("file_unreadable", "The Parquet file is incomplete.", hint="Upload it again.")
    footer = int.from_bytes(tail[:4], "little")
    if footer > min(size - 12, _MAX_FOOTER):
        raise JobError("file_unreadable", "The Parquet file's footer does not fit into the file.")


def _check_footer(metadata: pq.FileMetaData, size: int) -> None:
    """Row groups and column chunks must lie in the file and add up. Raises ValueError."""
    rows = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if group.num_rows < 0:
            raise ValueError("a row group has a negative number of rows")
        rows += group.num_rows
        for place in range(group.num_columns):
            chunk = group.column(place)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                start = min(start, chunk.dictionary_page_offset)
            if start < 4 or chunk.total_compressed_size < 0 or start + chunk.total_compressed_size > size:
                raise ValueError("a column chunk lies outside of the file")
    if rows != metadata.num_rows:
        raise ValueError("the row groups do not add up to the number of rows")


def _columns(schema: pa.Schema) -> tuple[list[str], dict[str, str]]:
    """Columns with text, numbers, booleans, times or labels, and what the others hold. Raises JobError for extension
    types, and where none is plain."""
    names: list[str] = []
    others: dict[str, str] = {}
    for field in schema:
        if isinstance(field.type, pa.BaseExtensionType) or b"ARROW:extension:name" in (field.metadata or {}):
            message = f'The column "{field.name[:80]}" has an extension type, which is not read.'
            raise JobError("file_unreadable", message, hint="Write the file with plain types.")
        if schema.get_field_index(field.name) < 0 or not _is_free(field.name, schema):
            others[field.name] = "another column has this name"
        else:
            _sort(field, field.name, names, others)
    if not names:
        raise JobError("column_missing", "The Parquet file has no column with text or numbers.")
    return names, others


def _sort(field: pa.Field, path: str, names: list[str], others: dict[str, str]) -> None:
    """Put a field, or those of a struct, by their path to the columns that are read or to the others."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if _is_plain(kind) or _holds_labels(field):
        names.append(path)
    elif pa.types.is_struct(kind) and path.count(".") < _MAX_DEPTH:
        taken = [inner.name for inner in kind]
        for inner in kind:
            if "." in inner.name or taken.count(inner.name) > 1:
                others[f"{path}.{inner.name}"] = "another column has this name"
            else:
                _sort(inner, f"{path}.{inner.name}", names, others)
    else:
        others[path] = next((words for words, holds in _OTHERS.items() if holds(kind)), "it holds no text or numbers")


def _holds_labels(field: pa.Field) -> bool:
    """Whether a column holds lists of words, or of numbers under a name that labels have."""
    types = pa.types
    if not (types.is_list(field.type) or types.is_large_list(field.type)):
        return False
    kind = field.type.value_type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    is_text = types.is_string(kind) or types.is_large_string(kind)
    return is_text or (types.is_integer(kind) and bool(named("label", [field.name])))


def _is_free(name: str, schema: pa.Schema) -> bool:
    """Whether a name with a dot cannot be the path of a field within another."""
    return "." not in name or name.partition(".")[0] not in schema.names


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
        or types.is_timestamp(kind)
        or types.is_date(kind)
    )
