"""User, or items → the best further items."""

import argparse
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from workers.inference.core import Bundle, InputError, Predictor

# Most items that one ranked answer, or one list of items to start from, may hold.
MAX_RANKED = 1000


class Query(NamedTuple):
    """A history with its weights, the items not to return, how many to return, and whether no taste is known."""

    history: np.ndarray
    weights: np.ndarray
    left_out: np.ndarray
    k: int
    fallback: bool


class RankedItems(Predictor):
    """User, or items → the best further items. A user is their history, which the bundle holds.

    model.onnx takes `history` int64 [batch, length] (item numbers, padded with the number of items) and `weights`
    float32 of that shape (padded with 0), and gives `scores` float32 [batch, items]. Items are numbered by popularity:
    of equal scores the more popular item's comes first. Who has no history gets the most popular items.
    """

    inputs_help = "items that somebody likes"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        settings = bundle.manifest["preprocessing"]
        self._k: int = settings["k"]
        # Numbers that the model gathers per item of a history: this bounds a run's memory.
        self._width: int = settings["width"]
        self.items: list[str] = json.loads((bundle.folder / "items.json").read_text(encoding="utf-8"))
        users = json.loads((bundle.folder / "users.json").read_text(encoding="utf-8"))
        self._number = {item: number for number, item in enumerate(self.items)}
        self._user = {user: number for number, user in enumerate(users)}
        with np.load(bundle.folder / "histories.npz", allow_pickle=False) as arrays:
            self._starts = arrays["starts"]
            self._history = arrays["items"]
            self._weights = arrays.get("weights")
            self._popularity = arrays["popularity"]
        whole = len(self._starts) == len(users) + 1 and self._starts[-1] == len(self._history)
        if not whole or len(self._popularity) != len(self.items):
            raise ValueError("histories.npz does not belong to items.json and users.json")
        self._session = bundle.session()

    def prepare(self, raw: Any, index: int = 0) -> Query:
        """{"user": id} or {"items": [ids]}, with "k" and "exclude_seen" as wished; a string alone is a user."""
        if isinstance(raw, str):
            raw = {"user": raw}
        if not isinstance(raw, dict):
            raise InputError(index, 'Send {"user": "…"} or {"items": ["…", …]}.')
        if unknown := sorted(set(raw) - {"user", "items", "k", "exclude_seen"}):
            raise InputError(index, f'Unknown field "{unknown[0]}": send user or items, k, exclude_seen.')
        if ("user" in raw) == ("items" in raw):
            raise InputError(index, "Send either user or items.")
        k = raw.get("k", self._k)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_RANKED:
            raise InputError(index, f"k must be a whole number from 1 to {MAX_RANKED}.")
        exclude = raw.get("exclude_seen", True)
        if not isinstance(exclude, bool):
            raise InputError(index, "exclude_seen must be true or false.")
        if "user" in raw:
            history, weights = self._of_user(_identifier(raw["user"], "user", index))
        else:
            history, weights = self._of_items(raw["items"], index)
        used = weights > 0
        return Query(history[used], weights[used], history if exclude else history[:0], k, not used.any())

    def _of_user(self, user: str) -> tuple[np.ndarray, np.ndarray]:
        number = self._user.get(user)
        if number is None:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        span = slice(self._starts[number], self._starts[number + 1])
        history = self._history[span].astype(np.int64)
        weights = np.ones(len(history), np.float32) if self._weights is None else self._weights[span]
        return history, weights

    def _of_items(self, items: Any, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(items, list) or not items:
            raise InputError(index, "items must be a list of at least one item.")
        if len(items) > MAX_RANKED:
            raise InputError(index, f"items may hold at most {MAX_RANKED} items.")
        names = dict.fromkeys(_identifier(item, "item", index) for item in items)
        history = np.array([self._number[name] for name in names if name in self._number], np.int64)
        return history, np.ones(len(history), np.float32)

    def scores(self, items: Sequence[Query]) -> np.ndarray:
        """float32 [items, catalogue]: the model's, or the share of users who know an item where no taste is known."""
        scores = np.empty((len(items), len(self.items)), np.float32)
        scores[[row for row, query in enumerate(items) if query.fallback]] = self._popularity
        known = sorted(
            (row for row, query in enumerate(items) if not query.fallback), key=lambda row: len(items[row].history)
        )
        while known:
            # Similar lengths together; what one run gathers stays below 64 MB where it can.
            longest = len(items[known[-1]].history)
            rows = known[-max(1, 2**24 // (longest * self._width)) :]
            del known[-len(rows) :]
            history = np.full((len(rows), longest), len(self.items), np.int64)
            weights = np.zeros((len(rows), longest), np.float32)
            for place, row in enumerate(rows):
                length = len(items[row].history)
                history[place, :length], weights[place, :length] = items[row].history, items[row].weights
            scores[rows] = self._session.run(["scores"], {"history": history, "weights": weights})[0]
        return scores

    def predict(self, items: Sequence[Query]) -> list[dict[str, Any]]:
        """[{"items": [{"item", "score"}], "fallback"?: "popularity"}], best first; fewer than k where no more are."""
        if not items:
            return []
        scores = self.scores(items)
        rows = np.repeat(np.arange(len(items)), [len(query.left_out) for query in items])
        scores[rows, np.concatenate([query.left_out for query in items])] = -np.inf
        best, values = top_items(scores, max(query.k for query in items))
        answers = zip(items, best.tolist(), values.astype(np.float64).round(6).tolist(), strict=True)
        predictions = []
        for query, numbers, row in answers:
            pairs = zip(numbers[: query.k], row[: query.k], strict=True)
            ranked = [{"item": self.items[number], "score": score} for number, score in pairs if score != -np.inf]
            predictions.append({"items": ranked, "fallback": "popularity"} if query.fallback else {"items": ranked})
        return predictions

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Items, --user as often as wished, and --k."""
        super().add_arguments(parser)
        parser.add_argument("--user", action="append", default=[], help="a user; may be repeated")
        parser.add_argument("--k", type=int, default=10, help="how many items to return")

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """One query per --user; the arguments without a name are the items of one more."""
        queries: list[Any] = [{"user": user, "k": arguments.k} for user in arguments.user]
        return [*queries, {"items": arguments.inputs, "k": arguments.k}] if arguments.inputs else queries


def _identifier(value: Any, what: str, index: int) -> str:
    """Ids are strings; a whole number is taken as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(index, f"The {what} must be a string.")
    return value


def top_items(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best columns of each row and their scores, best first, the lower column first among equals.

    `scores` is float [rows, columns] without NaN; both results are [rows, min(k, columns)].
    """
    rows, width = scores.shape
    k = min(k, width)
    parts, sample = width // 32, scores
    if parts >= 2 * k:
        # The k-th largest of the maxima of 32 columns each is at most the k-th largest score, and found much sooner.
        sample = scores[:, : parts * 32].reshape(rows, 32, parts).max(axis=1)
    least = np.partition(sample, sample.shape[1] - k, axis=1)[:, sample.shape[1] - k, None]
    row, column = np.nonzero(scores >= least)
    value = scores[row, column]
    order = np.lexsort((column, -value, row))
    best = order[np.searchsorted(row, np.arange(rows))[:, None] + np.arange(k)]
    return column[best], value[best]
