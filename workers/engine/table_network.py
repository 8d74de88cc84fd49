"""The network for rows of a table: numbers as places among their quantiles, categories as vectors, then a residual MLP.

Piecewise linear encoding of numbers: Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning"
(2022); residual blocks: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2021).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Layout:
    """Where what stands in a row of features, and what training learned of the numbers.

    `numbers` and `categories` are places in the row; `sizes` how many numbers each category has (0 missing, 1 unknown).
    `means` and `scales` [numbers]; `edges` [numbers, bins + 1], ascending: quantiles.
    """

    numbers: list[int]
    categories: list[int]
    sizes: list[int]
    means: np.ndarray
    scales: np.ndarray
    edges: np.ndarray


def layout_of(features: np.ndarray, numbers: list[int], categories: list[int], sizes: list[int], bins: int) -> Layout:
    """The layout for training rows, float64 [rows, width], NaN where a number is missing."""
    means, scales, edges = np.zeros(len(numbers)), np.ones(len(numbers)), np.zeros((len(numbers), bins + 1))
    for place, column in enumerate(numbers):
        values = features[:, column]
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        # A few far outliers must not set the scale for all.
        low, high = np.quantile(values, (0.005, 0.995))
        inner = values.clip(low, high)
        means[place], scales[place] = inner.mean(), inner.std() or 1.0
        edges[place] = _edges(values, bins)
    return Layout(numbers, categories, sizes, means, scales, edges)


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Quantiles; of few different values each has an edge, and what is left over repeats the last one."""
    found = np.unique(values)
    if len(found) > bins + 1:
        found = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    return np.concatenate([found, np.full(bins + 1 - len(found), found[-1])])


class TableNetwork(nn.Module):
    """Features float64 [batch, width] → scores float32 [batch, labels], before softmax. Normalises by itself."""

    numbers: torch.Tensor
    categories: torch.Tensor
    offsets: torch.Tensor
    means: torch.Tensor
    scales: torch.Tensor
    starts: torch.Tensor
    widths: torch.Tensor
    filled: torch.Tensor

    def __init__(
        self, layout: Layout, labels: int, *, embedding: int, width: int, depth: int, dropout: float, hide: float
    ) -> None:
        super().__init__()
        self._hide = hide
        constants = {
            "numbers": torch.tensor(layout.numbers, dtype=torch.int64),
            "categories": torch.tensor(layout.categories, dtype=torch.int64),
            # All categories share one table; each column's part begins at its offset.
            "offsets": torch.tensor(np.cumsum([0, *layout.sizes[:-1]]) if layout.sizes else [], dtype=torch.int64),
            "means": torch.tensor(layout.means),
            "scales": torch.tensor(layout.scales),
            "starts": torch.tensor(layout.edges[:, :-1]),
            # A bin without width never fills.
            "widths": torch.tensor(np.diff(layout.edges, axis=1)),
        }
        constants["filled"] = (constants["widths"] > 0).double()
        constants["widths"] = torch.where(constants["widths"] > 0, constants["widths"], 1.0)
        for name, tensor in constants.items():
            self.register_buffer(name, tensor, persistent=False)
        count, bins = layout.edges.shape[0], layout.edges.shape[1] - 1
        self.bin_weights = nn.Parameter(torch.randn(count, bins, embedding) / bins**0.5)
        self.bin_biases = nn.Parameter(torch.zeros(count, 1, embedding))
        self.vectors = nn.Embedding(max(1, sum(layout.sizes)), embedding)
        nn.init.normal_(self.vectors.weight, std=0.3)
        inputs = count * (embedding + 2) + len(layout.categories) * embedding
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)
            )
            for _ in range(depth)
        )
        self.last = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, labels))
        self.has_numbers, self.has_categories = bool(layout.numbers), bool(layout.categories)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        parts = []
        if self.has_numbers:
            parts += self._numbers(features)
        if self.has_categories:
            codes = features.index_select(1, self.categories).long()
            if self.training and self._hide:
                # 1 is the unknown category: what stays of it is learned here.
                codes = torch.where(torch.rand(codes.shape, device=codes.device) < self._hide, 1, codes)
            parts.append(self.vectors(codes + self.offsets).flatten(1))
        hidden = self.first(torch.cat(parts, dim=1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        scores: torch.Tensor = self.last(hidden)
        return scores

    def _numbers(self, features: torch.Tensor) -> list[torch.Tensor]:
        """Each number's embedding, its standard score, and whether it is missing."""
        numbers = features.index_select(1, self.numbers)
        missing = torch.isnan(numbers)
        if self.training and self._hide:
            missing = missing | (torch.rand(numbers.shape, device=numbers.device) < self._hide)
        present = (~missing).to(torch.float32)
        # What is missing stands at the mean, and gives nothing below. float64 keeps large numbers apart.
        numbers = torch.where(missing, self.means, numbers)
        scores = ((numbers - self.means) / self.scales).clamp(-4, 4).to(torch.float32) * present
        bins = ((numbers.unsqueeze(2) - self.starts) / self.widths).clamp(0, 1) * self.filled
        shares = bins.to(torch.float32) * present.unsqueeze(2)
        vectors = torch.relu(torch.matmul(shares.transpose(0, 1), self.bin_weights) + self.bin_biases)
        return [vectors.transpose(0, 1).flatten(1), scores, 1 - present]


class TableNetworks(nn.Module):
    """Several networks that learn side by side, each from its own start, and answer with their mean probability.

    In training: scores [batch, labels, networks], each network to be judged on its own. Else scores [batch, labels].
    """

    def __init__(self, networks: list[TableNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        scores = torch.stack([network(features) for network in self.networks], dim=2)
        if self.training:
            return scores
        return torch.softmax(scores, dim=1).mean(dim=2).clamp(min=1e-12).log()
