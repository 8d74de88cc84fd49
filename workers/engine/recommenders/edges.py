"""Odd requests to a recommender, through the served path and the trained model's own arithmetic."""

from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse

from workers.contracts.manifest import EdgeCases
from workers.engine.edge_cases import EdgeCase
from workers.engine.ranking import flips
from workers.engine.recommenders.interactions import Histories
from workers.engine.recommenders.linear import LinearRecommender
from workers.inference.core import InputError
from workers.inference.ranked import MAX_RANKED, RankedItems, top_items

TOLERANCE = 1e-4


class Asked(NamedTuple):
    """What a request asks for: a history (places of items), what to leave out, how many."""

    history: list[int]
    left_out: list[int]
    k: int


def edge_cases(user: str, stranger: str, items: list[str]) -> list[EdgeCase]:
    """Requests about one known user, nobody, and the catalogue's first items."""
    return [
        EdgeCase("unknown user", {"user": stranger, "k": 10}),
        EdgeCase("user without a name", {"user": "", "k": 10}),
        EdgeCase("items that nobody knows", {"items": [stranger], "k": 10}),
        EdgeCase("known and unknown items", {"items": [items[0], stranger], "k": 5}),
        EdgeCase("an item twice", {"items": [items[0], items[0]], "k": 5}),
        EdgeCase("every item", {"items": items, "k": 10}),
        EdgeCase("every item, to be returned too", {"items": items, "k": MAX_RANKED, "exclude_seen": False}),
        EdgeCase("one item alone wanted", {"user": user, "k": 1}),
        EdgeCase("more than there are", {"user": user, "k": MAX_RANKED}),
        EdgeCase("no items", {"items": [], "k": 10}, refused=True),
        EdgeCase("user and items", {"user": user, "items": items[:1]}, refused=True),
        EdgeCase("nothing", {}, refused=True),
        EdgeCase("none wanted", {"user": user, "k": 0}, refused=True),
        EdgeCase("a number for the items", {"items": 3}, refused=True),
    ]


def certify_edges(
    predictor: RankedItems, model: LinearRecommender, known: Histories, users: dict[str, int], tolerance: float
) -> EdgeCases:
    """Each case alone through both paths. `users`: name → place in `known`."""
    number = {item: place for place, item in enumerate(predictor.items)}
    stranger = "somebody-new"
    while stranger in users or stranger in number:
        stranger += "-"
    outcomes: dict[str, Literal["same", "refused", "differs"]] = {}
    largest = 0.0
    for case in edge_cases(next(iter(users)), stranger, predictor.items[:MAX_RANKED]):
        try:
            query = predictor.prepare(case.raw)
        except InputError:
            outcomes[case.name] = "refused" if case.refused else "differs"
            continue
        if case.refused:
            outcomes[case.name] = "differs"
            continue
        asked, weights = _asked(case.raw, number, users, known)
        batch = scipy.sparse.csr_array(
            (weights, np.array(asked.history, np.int64), np.array([0, len(asked.history)])),
            shape=(1, len(number)),
        )
        # As served: who has no item with weight gets what is popular.
        scores = model.scores(batch) if weights.any() else known.shares[None].copy()
        # Long histories have large sums, which differ in their last digits by more.
        allowed = max(tolerance, TOLERANCE * float(np.abs(scores).max()))
        difference = float(np.abs(predictor.scores([query]) - scores).max(initial=0.0))
        largest = max(largest, difference)
        scores[0, asked.left_out] = -np.inf
        best, values = top_items(scores, asked.k)
        served = [[number[entry["item"]] for entry in predictor.predict([query])[0]["items"]]]
        wrong = flips(served, np.where(values > -np.inf, best, -1), scores, allowed)
        outcomes[case.name] = "differs" if wrong or difference > allowed else "same"
    count = sum(outcome == "differs" for outcome in outcomes.values())
    return EdgeCases(examples=len(outcomes), label_flips=count, max_abs_difference=largest, cases=outcomes)


def _asked(
    raw: dict[str, Any], number: dict[str, int], users: dict[str, int], known: Histories
) -> tuple[Asked, np.ndarray]:
    weights: np.ndarray = np.zeros(0, np.float32)
    if "user" in raw:
        history: list[int] = []
        if raw["user"] in users:
            row = known.matrix[[users[raw["user"]]]]
            history, weights = row.indices.tolist(), row.data
    else:
        history = [number[item] for item in dict.fromkeys(raw["items"]) if item in number]
        weights = np.ones(len(history), np.float32)
    return Asked(history, history if raw.get("exclude_seen", True) else [], raw["k"]), weights
