"""How each algorithm is fitted, searched and turned into components of the served form."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse
import torch

from workers.contracts.errors import JobError
from workers.engine.recommenders.als import als, fold_in, initial_items
from workers.engine.recommenders.ease import MAX_ITEMS, ease, gram
from workers.engine.recommenders.interactions import Histories
from workers.engine.recommenders.linear import Component, of_neighbours
from workers.engine.recommenders.neighbours import Nearness, neighbours
from workers.engine.recommenders.search import Settings
from workers.engine.recommenders.sequence import past_and_future, sequence
from workers.task_templates.recommendation import RecommendationParams

# Where time is known: how much an item of the history weighs beside the one after it. 1: all alike.
DECAYS = (1.0, 0.97, 0.87)


class Part(NamedTuple):
    """A fit that is not finished: what the first `unit` units have made."""

    unit: int
    tensor: torch.Tensor


After = Callable[[Part, float | None], None]


class Solver(ABC):
    """One algorithm. A fit is made of `units` equal pieces of work; after each but the last it can be interrupted."""

    name: ClassVar[str]
    units = 1
    start: Settings
    """Where the search for settings begins."""
    factors: Settings
    """By how much the search changes a setting; what the user has set is missing here."""
    axes: dict[str, tuple[float, ...]]
    """Ways of using one fit: for each setting its values, chosen one setting after the other."""

    def __init__(self, known: Histories) -> None:
        self.axes = {"decay": DECAYS} if known.timed else {}

    @abstractmethod
    def fit(self, known: Histories, settings: Settings, done: Part | None, after: After) -> Any:
        """What the histories teach. `after(part, loss)` is called after each unit."""

    def grown(self, settings: Settings, times: float) -> Settings:
        """The settings for `times` as many interactions as they were found with."""
        return settings

    @abstractmethod
    def component(self, fitted: Any, variant: Settings) -> Component:
        """A fit, used in a way that has a value for each of `axes`."""


class PopularitySolver(Solver):
    """What many know, whatever the history: alone no match for the others, it steadies them."""

    name = "popularity"

    def __init__(self, known: Histories, device: torch.device) -> None:
        self.axes, self.start, self.factors = {}, {}, {}
        self._device = device

    def fit(self, known: Histories, settings: Settings, done: Part | None, after: After) -> torch.Tensor:
        return torch.from_numpy(known.shares).to(self._device)

    def component(self, fitted: torch.Tensor, variant: Settings) -> Component:
        return Component(torch.ones_like(fitted)[:, None], fitted[:, None])


class NeighbourSolver(Solver):
    """Settings: `user_power` and `keep`, see `neighbours`; a cosine either way."""

    name = "item-knn"

    def __init__(self, known: Histories, device: torch.device) -> None:
        super().__init__(known)
        self._device = device
        self.start, self.factors = {"user_power": 0.5, "keep": 300.0}, {"user_power": 2.0, "keep": 3.0}

    def fit(self, known: Histories, settings: Settings, done: Part | None, after: After) -> scipy.sparse.csr_array:
        near = Nearness(settings["user_power"], 0.5, 0.5, max(1, int(settings["keep"])))
        return neighbours(known.learnable, near)

    def component(self, fitted: scipy.sparse.csr_array, variant: Settings) -> Component:
        return of_neighbours(fitted, self._device, variant.get("decay", 1.0))


class EaseSolver(Solver):
    """Settings: `regularization` λ and `dropout` p."""

    name = "ease"

    def __init__(self, params: RecommendationParams, known: Histories, device: torch.device) -> None:
        super().__init__(known)
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
        self.start = {
            "regularization": params.regularization or 20 * max(1.0, _mean_diagonal(known)) ** 0.5,
            "dropout": params.dropout,
        }
        self.factors = {} if params.regularization else {"regularization": 3.0}

    def fit(self, known: Histories, settings: Settings, done: Part | None, after: After) -> torch.Tensor:
        if self._gram is None or self._gram[0] is not known:
            self._gram = (known, gram(known.learnable))
        try:
            weights = ease(self._gram[1], settings["regularization"], settings["dropout"], self._device)
        except np.linalg.LinAlgError as error:
            raise JobError("not_finite", hint="Raise the regularization.", evidence=str(error)) from None
        return torch.from_numpy(weights).to(self._device)

    def grown(self, settings: Settings, times: float) -> Settings:
        return _root_grown(settings, times)

    def component(self, fitted: torch.Tensor, variant: Settings) -> Component:
        return Component(fitted, decay=variant.get("decay", 1.0))


class SequenceSolver(Solver):
    """Settings: `regularization` λ. Fitted for one `decay`, and used with it."""

    name = "sequence"
    _DECAY = 0.8

    def __init__(self, known: Histories, device: torch.device) -> None:
        self.axes = {}
        self._device = device
        self._sums: tuple[Histories, tuple[np.ndarray, np.ndarray]] | None = None
        # A place's past has the weight of 1 / (1 − decay²) items.
        mean = _mean_diagonal(known) / (1 - self._DECAY**2)
        self.start = {"regularization": 60 * max(1.0, mean) ** 0.5}
        self.factors = {"regularization": 3.0}

    def fit(self, known: Histories, settings: Settings, done: Part | None, after: After) -> torch.Tensor:
        if self._sums is None or self._sums[0] is not known:
            self._sums = (known, past_and_future(known.learnable, self._DECAY))
        try:
            weights = sequence(*self._sums[1], settings["regularization"])
        except np.linalg.LinAlgError as error:
            raise JobError("not_finite", hint="Raise the regularization.", evidence=str(error)) from None
        return torch.from_numpy(weights).to(self._device)

    def grown(self, settings: Settings, times: float) -> Settings:
        return _root_grown(settings, times)

    def component(self, fitted: torch.Tensor, variant: Settings) -> Component:
        return Component(fitted, decay=self._DECAY)


class AlsSolver(Solver):
    """Settings: `regularization` λ and `alpha`. Axis `fold_in`: how cautiously a history becomes factors."""

    name = "als"

    def __init__(self, params: RecommendationParams, known: Histories, device: torch.device, seed: int) -> None:
        super().__init__(known)
        self._device, self._seed = device, seed
        # More factors than items or users could carry nothing.
        self._factors = max(1, min(params.factors, *known.matrix.shape))
        self.units = params.iterations
        self.start = {"regularization": params.regularization or 10.0, "alpha": params.alpha or 5.0}
        free = {"alpha": params.alpha is None, "regularization": params.regularization is None}
        self.factors = {name: 3.0 for name, is_free in free.items() if is_free}
        self.axes = {"fold_in": (0.1, 0.01, 0.03, 0.3, 1.0), **self.axes}

    def fit(self, known: Histories, settings: Settings, done: Part | None, after: After) -> torch.Tensor:
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

    def component(self, fitted: torch.Tensor, variant: Settings) -> Component:
        return Component(fold_in(fitted, variant["fold_in"]), fitted, decay=variant.get("decay", 1.0))


def _root_grown(settings: Settings, times: float) -> Settings:
    """λ grows like the root of the interactions, as in the starts of the searches. Not for what validation rows add."""
    if times < 2:
        return settings
    return {**settings, "regularization": settings["regularization"] * times**0.5}


def _mean_diagonal(known: Histories) -> float:
    total = float(np.square(known.matrix.data, dtype=np.float64).sum())
    return total / max(1, len(known.items))
