"""What was seen of each image of a version, beside its data.parquet, so that no edit of it need decode them again.

Columns, in the order of rows: `traits` uint8, `hash` and `mirrored` uint64, `grey` 256 bytes (see image_look.Looks).
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.ingest.image_look import SIDE, Looks

# Another number where what is seen of the same image becomes another: looks of an earlier one are not used.
_EDITION: Final = b"1"
_SCHEMA: Final = pa.schema(
    [("traits", pa.uint8()), ("hash", pa.uint64()), ("mirrored", pa.uint64()), ("grey", pa.binary(SIDE**2))],
    metadata={"looks": _EDITION},
)


def write(path: Path, looks: Looks) -> None:
    """Write the looks of all rows."""
    pixels = pa.Array.from_buffers(_SCHEMA.field("grey").type, len(looks.grey), [None, pa.py_buffer(looks.grey)])
    table = pa.table([looks.traits, looks.hashes, looks.mirrored, pixels], schema=_SCHEMA)
    pq.write_table(table, path, compression="zstd", use_dictionary=False)


def read(path: Path, rows: int) -> Looks | None:
    """The looks of a version of so many rows; None where there are none, or others than are seen now."""
    if not path.exists():
        return None
    table = pq.read_table(path, use_threads=False)
    if table.num_rows != rows or (table.schema.metadata or {}).get(b"looks") != _EDITION:
        return None
    traits, hashes, mirrored = (table[name].to_numpy() for name in ("traits", "hash", "mirrored"))
    pixels = np.frombuffer(b"".join(table["grey"].to_pylist()), np.uint8).reshape(rows, -1)
    return Looks(traits, hashes, mirrored, pixels)
