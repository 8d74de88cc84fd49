"""Columns that were written apart are one file afterwards, as every reader of Parquet sees it."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.ingest import thrift
from workers.ingest.parquet_join import add_columns
from workers.ingest.parquet_out import GroupWriter

ROWS = 150_000
TABLE = pa.table(
    {
        "row": pa.array(np.arange(ROWS)),
        "hash": pa.array(np.random.default_rng(0).integers(0, 2**64, ROWS, np.uint64)),
        "text": pa.array([f"Tëxt {n} " * (n % 7) for n in range(ROWS)]),
        "label": pa.array([f"label {n % 9}" for n in range(ROWS)]),
        "labels": pa.array([["a", "b"][: n % 3] for n in range(ROWS)], pa.list_(pa.string())),
        "group": pa.array([None if n % 5 else f"{n:x}" for n in range(ROWS)], pa.string()),
    }
)


def written(path: Path, names: list[str], rows: int = 65_536) -> Path:
    table = TABLE.select(names)
    with GroupWriter(path, table.schema) as writer:
        for start in range(0, ROWS, rows):
            writer.add_group(table.slice(start, rows))
    return path


@pytest.mark.parametrize("early", [["hash", "text"], ["labels", "row"], ["group"]])
def test_joined_columns_read_as_if_they_had_been_written_together(tmp_path: Path, early: list[str]) -> None:
    path = written(tmp_path / "a", early)
    other = written(tmp_path / "b", [name for name in TABLE.schema.names if name not in early])
    sizes = path.stat().st_size + other.stat().st_size
    add_columns(path, other, TABLE.schema)
    table = pq.read_table(path)
    assert table.equals(TABLE) and table.schema.equals(TABLE.schema)
    assert path.stat().st_size < sizes + 1000
    assert pl.read_parquet(path).equals(pl.DataFrame(pl.from_arrow(TABLE)))
    with pq.ParquetFile(path) as file:
        assert [file.metadata.row_group(n).num_rows for n in range(3)] == [65_536, 65_536, ROWS - 2 * 65_536]
        assert file.read_row_group(1, columns=["labels", "text"]).equals(
            TABLE.slice(65_536, 65_536).select(["labels", "text"])
        )


def test_row_groups_of_other_sizes_are_refused(tmp_path: Path) -> None:
    path, other = written(tmp_path / "a", ["text"]), written(tmp_path / "b", ["label"], 50_000)
    with pytest.raises(ValueError, match="sizes"):
        add_columns(path, other, TABLE.select(["text", "label"]).schema)


def test_what_is_read_of_a_footer_is_written_again_byte_by_byte(tmp_path: Path) -> None:
    for path in (written(tmp_path / "a", TABLE.schema.names), tmp_path / "b"):
        if not path.exists():
            pl.DataFrame({"a": [1.5, None], "b": [[True], []], "c": ["x", "y"]}).write_parquet(path)
        data = path.read_bytes()
        footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
        assert thrift.dumps(thrift.Reader(footer).struct()) == footer
