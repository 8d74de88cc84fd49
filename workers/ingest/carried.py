"""What a model suspected of a version, said of the version that an edit made of it.

Who corrects ten of a hundred suspected labels and saves, goes on with the ninety.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.ingest.splits import Ints


def carry_suspects(
    suspects: Path, data: Path, target: Path, parents: Ints, relabelled: Iterable[int], renamed: Mapping[str, str]
) -> None:
    """Write the edited version's suspects.parquet from its parent's.

    `parents`: int32, of each row of the edited version (its rows are in `data`) the parent's row that it was.
    What is told of rows that went, and of those in `relabelled` (rows of the parent), about which somebody has
    decided, is left out. `renamed`: label → its new name. A row that has got the label which the model would give
    it is no suspect.
    """
    table = pq.read_table(suspects, use_threads=False)
    told = table["row"].to_numpy()
    places = np.full(max([*told, *parents], default=0) + 1, -1, np.int32)
    places[parents] = np.arange(len(parents), dtype=np.int32)
    places[np.fromiter(relabelled, np.int64)] = -1
    stays = places[told] >= 0
    table, rows = table.filter(pa.array(stays)), places[told[stays]]
    predicted = _renamed(table["predicted"], renamed)
    labels = pq.read_table(data, columns=["label"], use_threads=False)["label"].take(pa.array(rows))
    differs = pc.not_equal(predicted, labels.combine_chunks().cast(pa.string()))
    for name, column in (
        ("row", pa.array(rows)),
        ("predicted", predicted.dictionary_encode()),
        ("suspect", pc.and_(table["suspect"], differs)),
    ):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, target, compression="zstd", row_group_size=100_000)


def _renamed(predicted: Any, renamed: Mapping[str, str]) -> Any:
    coded = pc.dictionary_encode(predicted.combine_chunks().cast(pa.string()))
    names = [renamed.get(name, name) for name in coded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(coded.indices)
