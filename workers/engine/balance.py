"""Hearing rare classes: weights in the loss, or examples that are shown more often."""

import numpy as np
import torch

from workers.engine.settings import Settings


def class_weights(labels: np.ndarray, settings: Settings) -> torch.Tensor:
    """float32 [labels]: the weight of each class in the loss; ones unless the settings ask for weights.

    labels: int64 [rows], or of several each uint8 [rows, labels].
    """
    if settings.class_balance != "weights":
        return torch.ones(labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1)
    return torch.tensor(_rarity(labels), dtype=torch.float32)


def epoch_rows(labels: np.ndarray, settings: Settings, order: np.random.Generator) -> np.ndarray:
    """int64 [len(labels)]: the rows of one epoch, shuffled: all once, or those of rare classes more often."""
    if settings.class_balance != "sampling":
        return order.permutation(len(labels))
    # Systematic sampling: each row as often as it is due, rounded up or down.
    rarity = _rarity(labels)
    # A row of several labels is due by its rarest; one of none as an average one is.
    shares = rarity[labels] if labels.ndim == 1 else np.where(labels, rarity, 0).max(axis=1, initial=0)
    due = np.cumsum(np.where(shares > 0, shares, 1.0))
    ticks = (np.arange(len(labels)) + order.random()) * due[-1] / len(labels)
    return order.permutation(np.searchsorted(due, ticks, side="right").clip(max=len(labels) - 1))


def _rarity(labels: np.ndarray) -> np.ndarray:
    """float64 [labels]: the fourth root of how much rarer a class is than the average, mean 1 over the examples.

    Not the full inverse, which gives a handful of rare examples the whole say: rare classes are heard without drowning
    the common ones. At most 10.
    """
    counts = np.bincount(labels) if labels.ndim == 1 else labels.sum(axis=0, dtype=np.int64)
    given = max(1, counts.sum())
    raw = (given / (len(counts) * np.maximum(counts, 1))) ** 0.25
    weights: np.ndarray = np.minimum(raw / (raw * counts).sum() * given, 10.0)
    return weights
