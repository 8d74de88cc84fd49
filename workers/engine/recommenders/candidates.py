"""Which algorithms are tried on which data, and why."""

import torch

from workers.engine.recommenders.ease import AUTO_ITEMS
from workers.engine.recommenders.interactions import Histories
from workers.engine.recommenders.solvers import (
    AlsSolver,
    EaseSolver,
    NeighbourSolver,
    PopularitySolver,
    SequenceSolver,
    Solver,
)
from workers.task_templates.recommendation import RecommendationParams


def candidates(
    params: RecommendationParams, known: Histories, device: torch.device, seed: int
) -> tuple[list[Solver], str]:
    """The solvers that the parameters or, by `auto`, the data ask for; and the reason in words."""
    if params.algorithm == "ease":
        return [EaseSolver(params, known, device)], "EASE, as was asked for."
    if params.algorithm == "als":
        return [AlsSolver(params, known, device, seed)], "Factorisation (ALS), as was asked for."
    items = len(known.items)
    factorisation: list[Solver] = [AlsSolver(params, known, device, seed), NeighbourSolver(known, device)]
    steady: list[Solver] = [PopularitySolver(known, device)] if params.blend else []
    if items > AUTO_ITEMS:
        gigabytes = 2 * items**2 / 1e9
        return factorisation + steady, (
            f"Factorisation (ALS) and neighbourhoods: EASE weighs every pair of items, which for {items:,} items would "
            f"take {gigabytes:,.1f} GB to serve and {(items / AUTO_ITEMS) ** 3:,.1f} times as long to solve as for the "
            f"{AUTO_ITEMS:,} up to which it is taken."
        )
    order: list[Solver] = [SequenceSolver(known, device)] if known.timed else []
    reason = (
        f"EASE, factorisation (ALS) and neighbourhoods: {items:,} items are few enough for every pair to be weighed"
    )
    timed = ", and the times tell what is met after what." if known.timed else "."
    return [EaseSolver(params, known, device), *order, *factorisation, *steady], reason + timed
