"""Scores to probabilities and back: of one label out of many (softmax), or of each label by itself (sigmoid)."""

import torch
from torch.nn import functional

_LEAST = 1e-12
# float32 knows no number between this and one: a probability nearer to one has no finite score.
_MOST = 1 - 2.0**-24


def probabilities(scores: torch.Tensor, multi_label: bool) -> torch.Tensor:
    """Of scores [batch, labels, …]."""
    return torch.sigmoid(scores) if multi_label else torch.softmax(scores, dim=1)


def scores_of(probabilities: torch.Tensor, multi_label: bool) -> torch.Tensor:
    """Scores that have these probabilities."""
    if multi_label:
        inside = probabilities.clamp(_LEAST, _MOST)
        return inside.log() - (1 - inside).log()
    return probabilities.clamp(min=_LEAST).log()


def summed_loss(
    scores: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float, multi_label: bool
) -> torch.Tensor:
    """Cross entropy summed over a batch, each label weighed. Scores [batch, labels, networks] come from several
    networks: their mean loss. Targets int64 [batch], or float32 [batch, labels] where mixed or of several labels.
    """
    if scores.ndim == 3:
        networks = scores.shape[2]
        targets = targets.unsqueeze(-1).expand(*targets.shape, networks)
        weights = weights / networks
    if not multi_label:
        return functional.cross_entropy(scores, targets, weight=weights, reduction="sum", label_smoothing=smoothing)
    targets = targets * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (each * (weights if scores.ndim == 2 else weights.unsqueeze(1))).sum()
