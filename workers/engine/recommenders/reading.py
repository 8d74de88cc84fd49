"""Reading data.parquet: ids become numbers, ratings become weights."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from workers.contracts.job import SPLITS
from workers.engine.recommenders.interactions import TRAIN, VALIDATION, Log

Ratings = Literal["auto", "ignore", "weight", "threshold"]
# A single play count of a million must not drown everything else.
_MAX_WEIGHT = 10.0


class Weighing(NamedTuple):
    """How ratings became weights: in words, and the number that was used."""

    mode: Ratings
    value: float | None
    explanation: str


def read_log(path: Path, ratings: Ratings, min_rating: float | None, seed: int) -> tuple[Log, Weighing]:
    """Read data.parquet.

    Where it has no validation rows, a tenth of the train rows becomes validation, by a seeded hash.
    """
    import pyarrow.compute
    import pyarrow.parquet

    names = pyarrow.parquet.read_schema(path).names
    rated = "rating" in names and ratings != "ignore"
    extra = [name for name, wanted in (("rating", rated), ("timestamp", "timestamp" in names)) if wanted]
    # Ten million ids as dictionaries take a tenth of what they take as strings.
    table = pyarrow.parquet.read_table(
        path, columns=["user", "item", "split", *extra], memory_map=True, read_dictionary=["user", "item"]
    )
    users, user = _encode(table["user"])
    items, item = _encode(table["item"])
    time = _times(table["timestamp"]) if "timestamp" in names else None
    split = pyarrow.compute.index_in(table["split"], pyarrow.array(SPLITS)).to_numpy().astype(np.int8)
    values = table["rating"].to_numpy().astype(np.float64) if rated else np.ones(len(user))
    weight, weighing = _weigh(values, split == TRAIN, ratings if rated else "ignore", min_rating)
    if not (split == VALIDATION).any():
        split = np.where((split == TRAIN) & (_hash(user, item, seed) % np.uint64(10) == 0), VALIDATION, split)
    return Log(users, items, user, item, split.astype(np.int8), weight.astype(np.float32), time), weighing


def _times(column: Any) -> np.ndarray | None:
    """Times as int64, the unknown before all others; None where they tell no order."""
    import pyarrow
    import pyarrow.compute

    known = pyarrow.compute.min_max(column)
    least, most = known["min"].as_py(), known["max"].as_py()
    if least is None or least == most:
        return None
    values: np.ndarray = column.cast(pyarrow.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
    return values


def _encode(column: Any) -> tuple[list[str], np.ndarray]:
    """Sorted distinct values, and each row's place among them."""
    import pyarrow

    encoded = column if pyarrow.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pyarrow.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pyarrow.array([], encoded.type)
    values: list[str] = encoded.dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(len(values))
    return [values[index] for index in order], place[encoded.indices.to_numpy()]


def _weigh(
    values: np.ndarray, train: np.ndarray, ratings: Ratings, min_rating: float | None
) -> tuple[np.ndarray, Weighing]:
    """Weights of ratings (NaN where there is none). Only train rows decide what an average rating is."""
    known = values[train & np.isfinite(values)]
    if ratings == "ignore" or not len(known):
        return np.ones(len(values)), Weighing("ignore", None, "Every interaction counts as one.")
    if ratings == "threshold":
        least = float(known.mean()) if min_rating is None else min_rating
        text = f"Interactions rated {least:g} or more count as one; the others only mark the item as seen."
        return np.where(np.isnan(values), True, values >= least), Weighing("threshold", least, text)
    positive = known[known > 0]
    mean = float(positive.mean()) if len(positive) else 1.0
    text = (
        f"An interaction weighs its rating divided by the average of {mean:g}, {_MAX_WEIGHT:g} at most; ratings of "
        "zero or less only mark the item as seen."
    )
    scaled = np.clip(values / mean, 0.0, _MAX_WEIGHT)
    return np.where(np.isnan(values), 1.0, scaled), Weighing("weight", mean, text)


def _hash(user: np.ndarray, item: np.ndarray, seed: int) -> np.ndarray:
    """64 well-mixed bits of (user, item, seed): the finaliser of SplitMix64 (Steele, Lea and Flood 2014), twice."""
    bits = user.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed % 2**63)
    for salt in (item.astype(np.uint64), np.uint64(0)):
        bits = bits ^ salt
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits = bits ^ (bits >> np.uint64(31))
    return bits
