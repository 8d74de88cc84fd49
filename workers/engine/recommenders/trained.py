"""A trained recommender: how good it is beside popularity, how it is exported, and whether the served path agrees."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from workers.contracts.manifest import Certificate
from workers.contracts.report import RankedExample, RankingSplit, RecommendationReport
from workers.engine.ranking import Evaluation, evaluate, flips, leave_out
from workers.engine.recommenders.edges import TOLERANCE, certify_edges
from workers.engine.recommenders.graph import write_onnx
from workers.engine.recommenders.interactions import TEST, VALIDATION, HeldOut, Histories, Log
from workers.engine.recommenders.judging import newcomers, section
from workers.engine.recommenders.learning import Recipe
from workers.engine.recommenders.linear import LinearRecommender
from workers.engine.recommenders.measures import LISTS_AT
from workers.engine.recommenders.reading import Weighing
from workers.engine.recommenders.search import Trial
from workers.engine.run import Trained
from workers.inference.core import Predictor
from workers.inference.ranked import RankedItems, top_items
from workers.task_templates.recommendation import RecommendationParams

if TYPE_CHECKING:
    from workers.engine.run import Run

_PARITY_BATCH = 256
# Users of the certificate, evenly spread over their list, where there are more.
_CERTIFIED = 50_000
_EXAMPLES = 5
_SHOWN = 10
_PROTOCOL = (
    "Settings were chosen on the validation rows by a model of the train rows: the validation metrics are its. The "
    "model of this bundle then learned from train and validation rows, and the test metrics are its own.",
    "Each user's list is ranked from the whole catalogue without the items of their history: train rows for "
    "validation, train and validation rows for test, as served.",
    "On large data, settings are tried on about two million interactions, and at most 50,000 users, evenly spread over "
    "their list, are judged and certified: the figures say of how many.",
    "Recall divides by all held-out items of a user, those outside the catalogue too; NDCG by the ideal list. Users "
    "without a history get the popularity list and are counted.",
)


@dataclass(frozen=True)
class Study:
    """What was learned from, what was held out, and what was chosen."""

    log: Log
    first: Histories
    validation: HeldOut
    known: Histories
    test: HeldOut
    weighing: Weighing
    recipe: Recipe
    reason: str
    validated: Evaluation | None
    trials: list[Trial]


class TrainedRecommender(Trained):
    """The model of all rows but the test rows."""

    def __init__(self, run: "Run", study: Study, model: LinearRecommender) -> None:
        self.labels = []
        self.model = model
        self._run, self._study = run, study
        self.notes = [*_PROTOCOL, study.weighing.explanation]

    def evaluate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metrics per split, each with those of popularity, and the report of the model's page."""
        study = self._study
        splits: dict[str, RankingSplit] = {}
        if study.validated:
            splits["validation"] = section(study.validated, study.first, study.validation)
        found = None
        if len(study.test.users):
            found = evaluate(self.model.scores, study.known, study.test)
            splits["test"] = section(found, study.known, study.test)
            splits["test"].new_users = newcomers(self.model.scores, study.known, study.test)
        report = RecommendationReport(
            splits=splits,
            examples=self._examples(found) if found else [],
            most_recommended=self._most_recommended(found) if found else [],
            notes=self.notes,
            catalogue={"items": len(study.known.items), "users": len(study.known.users)},
            algorithm={
                "name": study.recipe.name,
                "reason": study.reason,
                "parts": [one._asdict() for one in study.recipe.ingredients],
                "entries": study.recipe.entries,
            },
            trials=[dict(trial) for trial in study.trials],
            ratings=study.weighing._asdict(),
        )
        metrics = {name: {**split.metrics, **split.baselines} for name, split in splits.items()}
        return metrics, report.model_dump(mode="json")

    def _most_recommended(self, found: Evaluation) -> list[dict[str, Any]]:
        best = found.best[:, :LISTS_AT]
        lists = np.bincount(best[best >= 0], minlength=len(self._study.known.items))
        order = np.argsort(-lists, kind="stable")[:_SHOWN]
        return [
            {
                "item": self._name(number),
                "lists": round(float(lists[number] / len(best)), 6),
                "users": round(float(self._study.known.shares[number]), 6),
            }
            for number in order.tolist()
            if lists[number]
        ]

    def _examples(self, found: Evaluation) -> list[RankedExample]:
        """Test users with a history, evenly spread over their list: nobody picked the good ones."""
        study = self._study
        candidates = np.flatnonzero(study.test.rows >= 0)
        chosen = candidates[
            np.unique(np.linspace(0, max(0, len(candidates) - 1), _EXAMPLES).astype(np.int64))[: len(candidates)]
        ]
        examples = []
        for place in chosen.tolist():
            history = study.known.matrix[[study.test.rows[place]]].indices.tolist()
            best = [number for number in found.best[place, :_SHOWN].tolist() if number >= 0]
            examples.append(
                RankedExample(
                    user=study.log.users[study.test.users[place]],
                    history=[self._name(number) for number in history[-_SHOWN:]],
                    history_size=len(history),
                    recommendations=[
                        {"item": self._name(number), "hit": bool(hit)}
                        for number, hit in zip(best, found.hits[place], strict=False)
                    ],
                    held_out=int(study.test.totals[place]),
                )
            )
        return examples

    def _name(self, number: int) -> str:
        return self._study.log.items[int(self._study.known.items[number])]

    def export(self, folder: Path) -> dict[str, Any]:
        """model.onnx, items.json, users.json and histories.npz."""
        study, known = self._study, self._study.known
        write_onnx(self.model, folder / "model.onnx")
        names = {
            "items.json": [study.log.items[i] for i in known.items],
            "users.json": [study.log.users[u] for u in known.users],
        }
        for name, values in names.items():
            (folder / name).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
        arrays = {
            "starts": known.matrix.indptr.astype(np.int64),
            "items": known.matrix.indices.astype(np.int32),
            "popularity": known.shares,
        }
        if np.any(known.matrix.data != 1):
            arrays["weights"] = known.matrix.data
        np.savez(folder / "histories.npz", **arrays)
        return {"k": cast(RecommendationParams, self._run.params).k, "width": self.model.width}

    def certify(self, predictor: Predictor) -> Certificate:
        """All users of the test split (of validation, where there is none) by name through the served path."""
        if not isinstance(predictor, RankedItems):
            raise TypeError("the bundle is not one of a recommender")
        study, known = self._study, self._study.known
        split, name = (TEST, "test") if (study.log.split == TEST).any() else (VALIDATION, "validation")
        users = np.unique(study.log.user[study.log.split == split])
        everybody = len(users)
        if everybody > _CERTIFIED:
            users = users[np.linspace(0, len(users) - 1, _CERTIFIED).astype(np.int64)]
        rows = np.full(len(study.log.users), -1)
        rows[known.users] = np.arange(len(known.users))
        number = {item: place for place, item in enumerate(predictor.items)}
        flipped, largest, scale = 0, 0.0, 1.0
        for start in range(0, len(users), _PARITY_BATCH):
            part = users[start : start + _PARITY_BATCH]
            queries = predictor.parse([{"user": study.log.users[user], "k": _SHOWN} for user in part])
            answers = predictor.predict(queries)
            served = [[number[entry["item"]] for entry in answer["items"]] for answer in answers]
            batch = known.with_nobody[rows[part]]
            scores = self.model.scores(batch)
            scores[batch.sum(axis=1) == 0] = known.shares
            # Sums of float32 differ in their last digits: long histories with large weights by more than short ones.
            scale = max(scale, float(np.abs(scores).max(initial=0.0)))
            largest = max(largest, float(np.abs(predictor.scores(queries) - scores).max(initial=0.0)))
            leave_out(scores, batch)
            best, values = top_items(scores, _SHOWN)
            flipped += flips(served, np.where(values > -np.inf, best, -1), scores, TOLERANCE * scale)
        places = {study.log.users[user]: place for place, user in enumerate(known.users)}
        edges = certify_edges(predictor, self.model, known, places, TOLERANCE * scale)
        return Certificate(
            examples=len(users),
            of=everybody if everybody > len(users) else None,
            label_flips=flipped,
            max_abs_difference=largest,
            tolerance=TOLERANCE * scale,
            passed=flipped == 0 and largest <= TOLERANCE * scale and edges.label_flips == 0,
            split=name,
            edge_cases=edges,
        )

    def reference_cases(self) -> list[Any]:
        """A user, a list of items, and somebody unknown."""
        study = self._study
        stranger = "somebody-new"
        while stranger in study.log.users:
            stranger += "-"
        user = study.log.users[study.known.users[0]]
        items = [self._name(place) for place in range(min(3, len(study.known.items)))]
        return [
            {"user": user, "k": 10},
            {"user": user, "k": 3, "exclude_seen": False},
            {"items": items},
            {"user": stranger},
        ]
