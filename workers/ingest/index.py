"""The index of a version: what the row browser shows and searches, laid out so that a million rows take a moment.

An uncompressed Arrow file made of data.parquet: the columns that are shown, `folded`, what is searched, and
`label_code` and `split_code`, places in the names that its schema's metadata holds. It can be made again at any time,
so it is kept only where it is read.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import ipc

from workers.contracts.job import DatasetKind
from workers.ingest.normal_forms import normal

Source = str | Path | BinaryIO
FOLDED: Final = "folded"
CODED: Final = ("label", "split")
VERSION: Final = 1
"""Counts up when the layout changes: files of another version are not read."""
_ROWS: Final = 16_384
_BYTES: Final = 8 * 2**20
_SEARCHED: Final[dict[str, tuple[str, ...]]] = {
    "text": ("text", "text_pair"),
    "image": ("name",),
    "recommendation": ("user", "item"),
    "tabular": ("values",),
}
# Between the cells of a row; no query holds it, so nothing is found across cells.
_BETWEEN: Final = "\x1f"


def write(source: Source, kind: DatasetKind, path: Path) -> None:
    """Make the index of a data.parquet, a few megabytes in memory at a time."""
    with pq.ParquetFile(source, pre_buffer=False) as file:
        names = shown_columns(file.schema_arrow)
        coded = {name: _values(file, name) for name in CODED if name in names}
        fields = [file.schema_arrow.field(name) for name in names]
        fields += [*(pa.field(f"{name}_code", pa.int32()) for name in coded), pa.field(FOLDED, pa.string_view())]
        known = {name: json.dumps(values.to_pylist(), ensure_ascii=False) for name, values in coded.items()}
        schema = pa.schema(fields, metadata=known)
        with pa.OSFile(str(path), "wb") as out, ipc.new_file(out, schema) as writer:
            for batch in file.iter_batches(_ROWS, columns=names, use_threads=False):
                for piece in _pieces(batch):
                    codes = [pc.index_in(piece[name], values) for name, values in coded.items()]
                    columns = [*(piece[name] for name in names), *codes, _folded(piece, kind)]
                    writer.write_batch(pa.record_batch(columns, schema=schema))


def _values(file: pq.ParquetFile, column: str) -> Any:
    """The different values of a column."""
    found = pa.array([], file.schema_arrow.field(column).type)
    for batch in file.iter_batches(_ROWS, columns=[column], use_threads=False):
        found = pc.unique(pa.concat_arrays([found, pc.unique(batch[column])]))
    return found


def shown_columns(schema: pa.Schema) -> list[str]:
    """The columns of a data.parquet that people see in the row browser."""
    return [name for name in schema.names if name not in ("image", "hash", "group")]


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in parts of about 8 MB, so that long texts do not make a search need more memory."""
    length = max(1, batch.num_rows // max(1, -(-batch.nbytes // _BYTES)))
    for start in range(0, batch.num_rows, length):
        yield batch.slice(start, length)


def _folded(batch: pa.RecordBatch, kind: DatasetKind) -> Any:
    cells: list[Any] = []
    for name in (name for name in _SEARCHED[kind] if name in batch.schema.names):
        # The values of a table's row are many columns.
        whole = batch[name]
        cells += whole.flatten() if pa.types.is_struct(whole.type) else [whole]
    if not cells:
        return pa.array([""] * batch.num_rows, pa.string_view())
    texts = cells[0]
    if len(cells) > 1:
        texts = pc.binary_join_element_wise(*cells, _BETWEEN, null_handling="replace", null_replacement="")
    # Most texts are ASCII, which Arrow folds twenty times as fast.
    if pc.all(pc.string_is_ascii(texts)).as_py() is not False:
        return pc.ascii_lower(texts).cast(pa.string_view())
    return pa.array([fold(text) for text in texts.to_pylist()], pa.string_view())


def fold(text: str) -> str:
    """A text as it is searched: case, width and Unicode form do not count (NFKC and full case folding)."""
    if text.isascii():
        return text.lower()
    return normal("NFKC", normal("NFKC", text).casefold())


def write_small(source: Source, path: Path) -> None:
    """A Parquet file of ours about rows as an uncompressed Arrow file of one batch; suspects most suspect first."""
    table = pq.read_table(source, use_threads=False, pre_buffer=False)
    if "suspicion" in table.schema.names:
        table = table.sort_by([("suspicion", "descending"), ("row", "ascending")])
    with pa.OSFile(str(path), "wb") as out, ipc.new_file(out, table.schema) as writer:
        writer.write_table(table.unify_dictionaries().combine_chunks())


def read_small(path: Path) -> pa.RecordBatch:
    """What `write_small` wrote, mapped into memory."""
    with pa.memory_map(str(path)) as file:
        return ipc.open_file(file).get_batch(0)
