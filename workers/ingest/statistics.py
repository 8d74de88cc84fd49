"""Numbers for the dataset page."""

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
_BINS = 20


def summary(values: Numbers) -> dict[str, Any]:
    """min, median, mean, p95, max and a histogram {"edges" (one more than counts), "counts"}; {} of nothing.

    Bins are even up to the 99th percentile, which the last one leaves behind to reach the maximum.
    """
    if not len(values):
        return {}
    low, middle, high, knee, top = (float(one) for one in np.quantile(values, (0, 0.5, 0.95, 0.99, 1)))
    edges = np.linspace(low, knee, _BINS + 1) if knee > low else np.array([low, low + 1])
    edges[-1] = max(edges[-1], top)
    if np.issubdtype(values.dtype, np.integer):
        edges = np.unique(np.concatenate([np.floor(edges[:-1]), [edges[-1]]]))
        edges = edges if len(edges) > 1 else np.array([low, low + 1])
    counts, _ = np.histogram(values, bins=edges)
    return {
        "min": low,
        "median": middle,
        "mean": float(np.mean(values)),
        "p95": high,
        "max": top,
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def doubling_histogram(counts: Numbers) -> dict[str, list[int]]:
    """How many values lie in 1, 2–3, 4–7, 8–15, …: for degrees, which have long tails."""
    if not len(counts):
        return {"from": [], "counts": []}
    bins = np.bincount(np.floor(np.log2(np.maximum(counts, 1))).astype(np.int64))
    return {"from": [2**place for place in range(len(bins))], "counts": bins.tolist()}
