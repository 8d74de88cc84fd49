"""The layer on top of an encoder, and how it learns from the features of one that stays as it is."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from workers.engine.encoder import ENCODER_SETTINGS
from workers.engine.examples import Examples
from workers.engine.loop import fit
from workers.engine.run import Run
from workers.engine.settings import Settings
from workers.task_templates.network import NetworkParams

_RATE = 0.01
_LEAST_STEPS = 1500
# Rows that an encoder computes at once.
_AT_ONCE = 256


class Head(nn.Module):
    """Features, float32 [batch, width] → scores, float32 [batch, labels]: brought to scale, dropped out, weighed."""

    def __init__(self, width: int, labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.shift: torch.Tensor
        self.scale: torch.Tensor
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, labels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        scores: torch.Tensor = self.out(self.dropout((features.float() - self.shift) * self.scale))
        return scores


class Features(Examples):
    """What a frozen encoder makes of the rows of a split: computed once, float32 [rows, width]."""

    def __init__(self, network: nn.Module, examples: Examples, run: Run) -> None:
        self.labels = examples.labels
        self.values = np.concatenate(
            [np.zeros((0, 1), dtype=np.float32), *_computed(network, examples, run)][1:]
            or [np.zeros((0, 1), dtype=np.float32)]
        )

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """float32 [rows, width]."""
        return torch.from_numpy(self.values[rows])


@torch.no_grad()
def _computed(network: nn.Module, examples: Examples, run: Run) -> Iterator[np.ndarray]:
    network.to(run.device).eval()
    for start in range(0, len(examples), _AT_ONCE):
        run.progress(0.05, "Computing features", step=start, steps=len(examples))
        rows = np.arange(start, min(start + _AT_ONCE, len(examples)))
        values: torch.Tensor = network.features(examples.batch(rows).to(run.device))  # type: ignore[operator]
        yield values.float().cpu().numpy()


def train_head(run: Run, network: nn.Module, head: Head, train: Examples, validation: Examples) -> None:
    """Fit `head`, part of `network`, to the features that the rest of it gives. Leaves the network in eval mode."""
    features = Features(network, train, run)
    mean, spread = features.values.mean(axis=0), features.values.std(axis=0)
    head.shift.copy_(torch.from_numpy(mean))
    head.scale.copy_(torch.from_numpy(1 / np.maximum(spread, 1e-3)))
    fit(run, head, features, Features(network, validation, run), head_settings(run, len(features)))
    network.eval()


def head_settings(run: Run, rows: int) -> Settings:
    """A linear layer learns in a moment: many epochs, large steps."""
    params = run.params
    assert isinstance(params, NetworkParams)
    batch_size = run.train.parameters.get("batch_size") or max(4, min(64, 2 ** int(math.log2(max(4, rows / 8)))))
    epochs = params.epochs or max(10, min(60, math.ceil(_LEAST_STEPS / math.ceil(rows / batch_size))))
    run.choose(epochs=epochs, batch_size=batch_size)
    rate = getattr(params, "encoder_learning_rate", None) or _RATE
    return Settings.of(
        params,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate,
        patience=max(params.patience, 8),
        **ENCODER_SETTINGS,
    )
