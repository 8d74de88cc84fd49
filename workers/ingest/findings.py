"""Which rows of a version the data doctor found something in: findings.parquet, beside data.parquet.

Columns: `row` (int32, the row's number in the version) and `code` (dictionary of strings), sorted by row, each row once
per code. Of items that are equal, or nearly, a finding is on the rows that a repair takes away: those that come after
the first (`duplicate_rows`, `near_duplicate`), and those in an earlier split than another (`…_across_splits`: what is
tested must not have been learned); only where somebody has to decide, on all of them (`…_conflict`).
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from workers.ingest import sorting

NAME: Final = "findings.parquet"
Rows = npt.NDArray[np.int32]
_SCHEMA = pa.schema([("row", pa.int32()), ("code", pa.dictionary(pa.int32(), pa.string()))])


class Findings:
    """Collects findings on accepted rows, 4 bytes each, by the row's final number in the version."""

    def __init__(self) -> None:
        self._single: defaultdict[str, array[int]] = defaultdict(lambda: array("i"))
        self._many: defaultdict[str, list[Rows]] = defaultdict(list)

    def add(self, row: int, code: str) -> None:
        """A finding on one row."""
        self._single[code].append(row)

    def extend(self, rows: "Iterable[int] | npt.NDArray[Any]", code: str) -> None:
        """The same finding on several rows."""
        found = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows), np.int32)
        if len(found):
            self._many[code].append(found)

    def rows(self, code: str) -> Rows:
        """int32, sorted, each once: the rows that a code was found in."""
        found = np.sort(np.concatenate([*self._many[code], np.array(self._single[code], np.int32)]))
        # numpy.unique would put them into a table first, which takes fifty times as long.
        rows: Rows = found[np.append(True, found[1:] != found[:-1])[: len(found)]]
        return rows

    def write(self, path: Path) -> None:
        """Write the file; none where nothing was found."""
        codes = sorted({*self._single, *self._many})
        found = [self.rows(code) for code in codes]
        rows = np.concatenate([np.empty(0, np.int32), *found])
        if not len(rows):
            return
        places = np.repeat(np.arange(len(codes), dtype=np.int32), [len(one) for one in found])
        order = sorting.order(rows, places)
        names = pa.DictionaryArray.from_arrays(pa.array(places[order]), pa.array(codes, pa.string()))
        pq.write_table(pa.table([pa.array(rows[order]), names], schema=_SCHEMA), path, compression="zstd")


def read(path: Path) -> dict[str, Rows]:
    """Code → the rows that it was found in, sorted; {} where there is no file."""
    if not path.exists():
        return {}
    table = pq.read_table(path)
    rows, codes = table["row"].to_numpy(), table["code"].combine_chunks()
    places = codes.indices.to_numpy()
    return {code: rows[places == place] for place, code in enumerate(codes.dictionary.to_pylist())}
