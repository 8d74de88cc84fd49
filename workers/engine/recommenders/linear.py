"""The one served form of every recommender, in PyTorch and as ONNX: a sum of components that are linear in the history.

A component adds (Σ weight · P[item]) @ Qᵀ over the items of a history. For EASE, P is its item-to-item matrix and there
is no Q; for ALS, Q holds the item factors and P folds a history in. Neighbourhoods name a few targets per item instead.
Where the order of a history counts, an item weighs `decay` times as much as the one that came after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
import torch
from torch.nn.functional import embedding_bag


@dataclass(frozen=True)
class Component:
    """`gather` P [catalogue, width] and `spread` Q, the same (None: width is the catalogue); or `targets`, int32
    [catalogue, width], to which `gather` adds its entries."""

    gather: torch.Tensor
    spread: torch.Tensor | None = None
    targets: torch.Tensor | None = None
    decay: float = 1.0

    def scaled(self, factor: float) -> "Component":
        """`factor` times this."""
        return replace(self, gather=self.gather * factor)

    def square(self) -> torch.Tensor:
        """What each item of a history (row) adds to the score of each other, float32 [catalogue, catalogue]."""
        if self.targets is not None:
            items = len(self.gather)
            return self.gather.new_zeros(items, items).scatter_add_(1, self.targets.long(), self.gather)
        return self.gather if self.spread is None else self.gather @ self.spread.T

    def rounded(self) -> "Component":
        """As it is stored: in float16 precision. The largest entry becomes a number that float16 holds well."""
        spread = None if self.spread is None else self.spread.half().float()
        return replace(self, gather=self.gather.half().float(), spread=spread)


def of_neighbours(near: scipy.sparse.csr_array, device: torch.device, decay: float = 1.0) -> Component:
    """The component of a sparse item-to-item matrix; rows with fewer entries than others are filled with zeros."""
    lengths = np.diff(near.indptr)
    width = max(1, int(lengths.max(initial=0)))
    inside = np.arange(width) < lengths[:, None]
    targets, values = np.zeros(inside.shape, np.int32), np.zeros(inside.shape, np.float32)
    targets[inside], values[inside] = near.indices, near.data
    return Component(torch.from_numpy(values).to(device), targets=torch.from_numpy(targets).to(device), decay=decay)


def merged(components: Sequence[Component]) -> list[Component]:
    """The same sum in fewer components: what has the decay of an item-to-item matrix joins it."""
    whole: list[Component] = []
    for decay in dict.fromkeys(component.decay for component in components):
        alike = [component for component in components if component.decay == decay]
        if len(alike) > 1 and any(one.spread is None and one.targets is None for one in alike):
            total = alike[0].square().clone()
            for one in alike[1:]:
                total += one.square()
            alike = [Component(total, decay=decay)]
        whole += alike
    return whole


def kept_largest(component: Component, count: int) -> Component:
    """An item-to-item matrix with the `count` entries of each row that are largest in absolute value (all of equals at
    the edge); other components as they are."""
    width = component.gather.shape[1]
    if component.spread is not None or component.targets is not None or count >= width:
        return component
    sizes = component.gather.abs()
    edge = sizes.kthvalue(width - count + 1, dim=1, keepdim=True).values
    return replace(component, gather=torch.where(sizes >= edge, component.gather, 0.0))


class LinearRecommender(torch.nn.Module):
    """Weights are rounded to float16 at once: what is evaluated is what is stored and served. Sums are float32."""

    def __init__(self, components: Sequence[Component]) -> None:
        super().__init__()
        self.components = [component.rounded() for component in components]

    @property
    def width(self) -> int:
        """Numbers that are gathered per item of a history."""
        return sum(int(component.gather.shape[1]) for component in self.components)

    def forward(self, items: torch.Tensor, starts: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Scores, float32 [users, catalogue], of histories that lie end to end, oldest item first: `items` int64 and
        `weights` float32 [interactions], `starts` int64 [users]."""
        ends = torch.cat([starts[1:], starts.new_tensor([len(items)])])
        row = torch.repeat_interleave(torch.arange(len(starts), device=starts.device), ends - starts)
        later = ends[row] - 1 - torch.arange(len(items), device=starts.device)
        found: torch.Tensor | None = None
        for one in self.components:
            used = weights if one.decay == 1 else weights * one.decay**later
            if one.targets is None:
                taste = embedding_bag(items, one.gather, starts, mode="sum", per_sample_weights=used)
                scores = taste if one.spread is None else taste @ one.spread.T
            else:
                catalogue = len(one.gather)
                scores = one.gather.new_zeros(len(starts) * catalogue)
                place = row[:, None] * catalogue + one.targets[items]
                scores.index_add_(0, place.flatten(), (one.gather[items] * used[:, None]).flatten())
                scores = scores.view(len(starts), catalogue)
            found = scores if found is None else found.add_(scores)
        if found is None:
            raise ValueError("a recommender without components")
        return found

    @torch.inference_mode()
    def scores(self, histories: scipy.sparse.csr_array) -> np.ndarray:
        """Scores, float32 [users, catalogue], of histories [users, catalogue], the items of each oldest first. What has
        no weight has no place in the order either."""
        if not histories.data.all():
            histories = histories.copy()
            histories.eliminate_zeros()
        device = self.components[0].gather.device
        items = torch.from_numpy(histories.indices.astype(np.int64)).to(device)
        starts = torch.from_numpy(histories.indptr[:-1].astype(np.int64)).to(device)
        weights = torch.from_numpy(histories.data.astype(np.float32)).to(device)
        found: np.ndarray = self(items, starts, weights).cpu().numpy()
        return found
