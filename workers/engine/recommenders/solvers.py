"""How each algorithm is fitted, searched and turned into the served form."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from workers.contracts.errors import JobError
from workers.engine.recommenders.als import als, fold_in, initial_items
from workers.engine.recommenders.ease import AUTO_ITEMS, MAX_ITEMS, ease, gram, keep_largest
from workers.engine.recommenders.interactions import Histories
from workers.engine.recommenders.linear import LinearRecommender
from workers.engine.recommenders.search import Settings
from workers.task_templates.recommendation import RecommendationParams


class Part(NamedTuple):
    """A fit that is not finished: what the first `unit` units have made."""

    unit: int
    tensor: torch.Tensor


class Solver(ABC):
    """One algorithm. A fit is made of `units` equal pieces of work; after each but the last it can be interrupted."""

    name: str
    units: int
    start: Settings
    """Where the search for settings begins."""
    factors: Settings
    """By how much the search changes a setting; what the user has set is missing here."""
    variants: list[Settings]
    """Ways of using one fit; the first that is good enough is taken, so the cheapest comes first."""
    slack: float = 0.0
    """The share of the best variant's metric that a cheaper one may lose."""

    @abstractmethod
    def fit(
        self, known: Histories, settings: Settings, done: Part | None, after: Callable[[Part, float | None], None]
    ) -> torch.Tensor:
        """What the histories teach. `after(part, loss)` is called after each unit."""

    @abstractmethod
    def build(self, fitted: torch.Tensor, variant: Settings) -> LinearRecommender:
        """The served form of a fit."""


class EaseSolver(Solver):
    """Settings: `regularization` λ and `dropout` p. Variants: `entries` kept per item."""

    name = "ease"
    units = 1
    slack = 0.01
    _ENTRIES = 1000

    def __init__(self, params: RecommendationParams, known: Histories, device: torch.device) -> None:
        width = known.matrix.shape[1]
        if width > MAX_ITEMS:
            raise JobError(
                "parameters_invalid",
                f"EASE takes at most {MAX_ITEMS:,} items, and there are {width:,}.",
                hint="Use ALS, or leave out rare items with min_interactions.",
                repair={"action": "retry", "parameters": {"algorithm": "als"}},
            )
        self._device = device
        self._gram: tuple[Histories, np.ndarray] | None = None
        # The best λ that is published for catalogues of all sizes lies within a factor of three of 20 √(mean of the
        # Gram matrix's diagonal): 50 for Last.fm (9), 500 for MovieLens 20M (500), 1,000 for Netflix (3,200).
        mean = float(known.learnable.power(2).sum()) / max(1, width)
        self.start = {
            "regularization": params.regularization or 20 * max(1.0, mean) ** 0.5,
            "dropout": params.dropout,
        }
        self.factors = {} if params.regularization else {"regularization": 3.0}
        if params.entries is not None:
            self.variants = [{"entries": params.entries or width}]
        else:
            self.variants = [{"entries": entries} for entries in (self._ENTRIES, width) if entries <= width]

    def fit(
        self, known: Histories, settings: Settings, done: Part | None, after: Callable[[Part, float | None], None]
    ) -> torch.Tensor:
        if self._gram is None or self._gram[0] is not known:
            self._gram = (known, gram(known.learnable))
        try:
            weights = ease(self._gram[1], settings["regularization"], settings["dropout"], self._device)
        except np.linalg.LinAlgError as error:
            raise JobError("not_finite", hint="Raise the regularization.", evidence=str(error)) from None
        # Solving again takes less than storing items² numbers, so the part holds none.
        after(Part(1, torch.zeros(0)), None)
        return torch.from_numpy(weights)

    def build(self, fitted: torch.Tensor, variant: Settings) -> LinearRecommender:
        kept = keep_largest(fitted.numpy(), int(variant["entries"]))
        return LinearRecommender(torch.from_numpy(kept).to(self._device))


class AlsSolver(Solver):
    """Settings: `regularization` λ and `alpha`. Variants: `fold_in`, how cautiously a history becomes factors."""

    name = "als"

    def __init__(self, params: RecommendationParams, known: Histories, device: torch.device, seed: int) -> None:
        self._device, self._seed = device, seed
        # More factors than items or users could carry nothing.
        self._factors = max(1, min(params.factors, *known.matrix.shape))
        self.units = params.iterations
        self.start = {"regularization": params.regularization or 10.0, "alpha": params.alpha or 10.0}
        free = {"regularization": params.regularization is None, "alpha": params.alpha is None}
        self.factors = {name: 3.0 for name, is_free in free.items() if is_free}
        self.variants = [{"fold_in": strength} for strength in (0.01, 0.03, 0.1, 0.3, 1.0)]

    def fit(
        self, known: Histories, settings: Settings, done: Part | None, after: Callable[[Part, float | None], None]
    ) -> torch.Tensor:
        items = done.tensor if done else initial_items(known.matrix.shape[1], self._factors, self._seed)

        def report(iteration: int, items: torch.Tensor, loss: float) -> None:
            if not np.isfinite(loss):
                raise JobError("not_finite", hint="Raise the regularization or lower alpha.")
            after(Part(iteration + 1, items), loss)

        try:
            return als(
                known.learnable,
                items.to(self._device),
                alpha=settings["alpha"],
                ridge=settings["regularization"],
                iterations=range(done.unit if done else 0, self.units),
                after=report,
            )
        except torch.linalg.LinAlgError as error:
            raise JobError("not_finite", hint="Raise the regularization.", evidence=str(error)) from None

    def build(self, fitted: torch.Tensor, variant: Settings) -> LinearRecommender:
        return LinearRecommender(fold_in(fitted, variant["fold_in"]), fitted)


def choose(params: RecommendationParams, known: Histories, device: torch.device, seed: int) -> Solver:
    """The solver that the parameters or, by `auto`, the size of the catalogue ask for."""
    small = known.matrix.shape[1] <= AUTO_ITEMS
    if params.algorithm == "ease" or (params.algorithm == "auto" and small):
        return EaseSolver(params, known, device)
    return AlsSolver(params, known, device, seed)
