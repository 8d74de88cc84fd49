"""The search for settings, the blend of what was found, and the final fit."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workers.contracts.errors import JobError
from workers.engine.ranking import Evaluation, evaluate
from workers.engine.recommenders.blend import climb, collect
from workers.engine.recommenders.interactions import HeldOut, Histories
from workers.engine.recommenders.linear import Component, LinearRecommender, kept_largest, merged
from workers.engine.recommenders.search import Settings, Trial, best_trial, propose, quality
from workers.engine.recommenders.solvers import DECAYS, Part, Solver
from workers.task_templates.recommendation import RecommendationParams

if TYPE_CHECKING:
    from workers.engine.run import Run

# Users that ways of using one fit are compared on.
_VARIANT_JUDGES = 2_000
# Entries per item that a bundle holds where keeping all of them is not this much better.
_ENTRIES = 1000
_ENTRIES_WORTH = 0.002
# Share of the progress bar for evaluation, export and the parity check.
_AFTERWARDS = 0.15


class Ingredient(NamedTuple):
    """A solver's fit with some settings, used in some way, and its factor in the sum."""

    algorithm: str
    settings: Settings
    variant: Settings
    factor: float


@dataclass(frozen=True)
class Recipe:
    """What the model is a sum of. `entries`: how many an item-to-item matrix keeps per item (None: all)."""

    ingredients: tuple[Ingredient, ...]
    entries: int | None = None

    @property
    def name(self) -> str:
        """For example "ease + als"."""
        return " + ".join(dict.fromkeys(one.algorithm for one in self.ingredients))


class Learning:
    """The search and the final fits, as a list of units that can be interrupted after each."""

    def __init__(self, run: "Run", solvers: Sequence[Solver], params: RecommendationParams) -> None:
        self._run, self._params = run, params
        self._solvers = {solver.name: solver for solver in solvers}
        # Where nothing is free, there is nothing to compare.
        self._budgets = {solver.name: params.trials if solver.factors else 1 for solver in solvers}
        self.trials: list[Trial] = []
        # The fits of the best trials, as long as this process lives.
        self._fits: dict[str, Any] = {}
        self._finished = 0
        self._done: tuple[str, Part] | None = None
        try:
            loaded = run.checkpoints.load()
        except JobError as error:
            run.log(f"The checkpoint is damaged ({error.evidence}); starting again.", "warning")
            loaded = None
        if loaded is not None:
            self.trials = loaded.state["trials"]
            if loaded.state["fit"]:
                self._done = loaded.state["fit"], Part(int(loaded.state["unit"]), loaded.tensors["items"])
        self._started, self._units_before = time.monotonic(), self._units(self._done[1].unit if self._done else 0)

    def search(self, first: Histories, validation: HeldOut) -> tuple[Recipe, Evaluation | None]:
        """Fit and judge settings until the search has nothing more to propose; then what to make of the best ones, and
        how good that is on the validation rows (None where there are none)."""
        if not len(validation.users):
            solver = next(iter(self._solvers.values()))
            plain = Ingredient(solver.name, solver.start, _first_variant(solver), 1.0)
            return Recipe((plain,), self._params.entries or None), None
        for solver in self._solvers.values():
            self._search(solver, first, validation)
        members = self._members(first)
        components = [self._component(first, member) for member in members]
        if self._params.blend and len(self._solvers) > 1:
            self._run.progress(self._fraction(), "Weighing the algorithms")
            pool, spread = collect(components, first, validation)
            best = max(range(len(members)), key=lambda place: pool.quality(np.eye(len(members))[place]))
            weights = climb(pool, best) / spread
            members = [member._replace(factor=float(f"{w:.6g}")) for member, w in zip(members, weights, strict=True)]
            members = [member for member in members if member.factor]
        else:
            best_algorithm = best_trial(self.trials)["algorithm"]
            members = [member for member in members if member.algorithm == best_algorithm][:1]
        recipe, found = self._thinned(Recipe(tuple(members)), first, validation)
        self._fits.clear()
        self._run.log(f"{recipe.name} → {_told(found.metrics)} on the validation rows.")
        return recipe, found

    def finish(self, known: Histories, recipe: Recipe, searched: int) -> LinearRecommender:
        """The model of all known rows; the recipe was found with `searched` interactions."""
        components = []
        fits: dict[str, Any] = {}
        for one in recipe.ingredients:
            if one.algorithm not in fits:
                phase = f"Learning from all rows but the test rows: {one.algorithm}"
                settings = self._solvers[one.algorithm].grown(one.settings, known.matrix.nnz / searched)
                fits[one.algorithm] = self._fit(f"final {one.algorithm}", one.algorithm, known, settings, phase)
                self._finished += self._solvers[one.algorithm].units
            component = self._solvers[one.algorithm].component(fits[one.algorithm], one.variant)
            components.append(component.scaled(one.factor))
        del fits
        return _model(components, recipe.entries)

    def _search(self, solver: Solver, first: Histories, validation: HeldOut) -> None:
        budget = self._budgets[solver.name]
        while True:
            tried = [trial for trial in self.trials if trial["algorithm"] == solver.name]
            settings = propose(tried, solver.start, solver.factors, budget)
            if settings is None:
                return
            phase = f"Trying {solver.name}, settings {len(tried) + 1} of {budget}"
            fitted = self._fit(f"trial {len(self.trials)}", solver.name, first, settings, phase)
            trial = self._judge(solver, fitted, settings, first, validation)
            self.trials.append(trial)
            if best_trial([*tried, trial]) is trial:
                self._fits[solver.name] = fitted
            self._save(None, None)
            values = {f"validation/{name}": value for name, value in trial["metrics"].items()}
            self._run.metric(self._units(), values)
            best = max(trial["metrics"]["recall@20"] for trial in self.trials)
            self._run.judged(len(self.trials) - 1, sum(self._budgets.values()), best)
            described = ", ".join(f"{name} {value:g}" for name, value in {**settings, **trial["variant"]}.items())
            self._run.log(f"{phase}: {described} → {_told(trial['metrics'])} on the validation rows.")

    def _judge(self, solver: Solver, fitted: Any, settings: Settings, first: Histories, validation: HeldOut) -> Trial:
        """The best way of using a fit, found one axis after the other, and how good it is."""
        variant = _first_variant(solver)
        few = validation.thinned(_VARIANT_JUDGES)
        for name, values in solver.axes.items():
            found = []
            for value in values:
                model = LinearRecommender([solver.component(fitted, {**variant, name: value})])
                found.append(quality(evaluate(model.scores, first, few).metrics))
            variant[name] = values[int(np.argmax(found))]
        model = LinearRecommender([solver.component(fitted, variant)])
        metrics = evaluate(model.scores, first, validation).metrics
        return Trial(algorithm=solver.name, settings=settings, variant=variant, metrics=metrics)

    def _members(self, first: Histories) -> list[Ingredient]:
        """The best of each algorithm; where the order of a history can count, a second time for the other way."""
        members = []
        for name in self._solvers:
            best = best_trial([trial for trial in self.trials if trial["algorithm"] == name])
            members.append(Ingredient(name, best["settings"], best["variant"], 1.0))
            if "decay" in best["variant"]:
                other = DECAYS[-1] if best["variant"]["decay"] == 1 else 1.0
                members.append(Ingredient(name, best["settings"], {**best["variant"], "decay": other}, 1.0))
        return members

    def _component(self, first: Histories, one: Ingredient) -> Component:
        solver = self._solvers[one.algorithm]
        if one.algorithm not in self._fits:
            # Only after a restart: the fits of an earlier process are gone, and made again.
            self._fits[one.algorithm] = solver.fit(first, one.settings, None, lambda part, loss: None)
        return solver.component(self._fits[one.algorithm], one.variant)

    def _thinned(self, recipe: Recipe, first: Histories, validation: HeldOut) -> tuple[Recipe, Evaluation]:
        """With as few entries per item as lose next to nothing."""
        components = [self._component(first, one).scaled(one.factor) for one in recipe.ingredients]
        wanted = self._params.entries
        counts = [None, _ENTRIES] if wanted is None and len(first.items) > _ENTRIES else [wanted or None]
        square = any(one.spread is None and one.targets is None for one in components)
        best: tuple[Recipe, Evaluation] | None = None
        for entries in counts if square else [None]:
            found = evaluate(_model(components, entries).scores, first, validation)
            if best is None or quality(found.metrics) >= quality(best[1].metrics) * (1 - _ENTRIES_WORTH):
                best = Recipe(recipe.ingredients, entries), found
        assert best is not None
        return best

    def _fit(self, name: str, algorithm: str, known: Histories, settings: Settings, phase: str) -> Any:
        solver = self._solvers[algorithm]
        done = self._done[1] if self._done and self._done[0] == name else None
        self._done = None
        self._report(phase, done.unit if done else 0)
        if done and done.unit >= solver.units:
            return done.tensor.to(self._run.device)

        def after(part: Part, loss: float | None) -> None:
            self._save(name, part)
            self._report(phase, part.unit)
            if loss is not None:
                self._run.metric(self._units(part.unit), {f"train/{algorithm} loss": loss})

        return solver.fit(known, settings, done, after)

    def _save(self, fit: str | None, part: Part | None) -> None:
        tensors = {"items": part.tensor} if part else {}
        unit = part.unit if part else 0
        self._run.checkpoints.save(self._units(unit), tensors, {"trials": self.trials, "fit": fit, "unit": unit})

    def _units(self, unit: int = 0) -> int:
        """Units that are behind us. Judging a trial counts as one more."""
        tried = sum(self._solvers[trial["algorithm"]].units + 1 for trial in self.trials)
        return tried + self._finished + unit

    def _total(self) -> int:
        searched = sum(self._budgets[name] * (solver.units + 1) for name, solver in self._solvers.items())
        return searched + sum(solver.units for solver in self._solvers.values())

    def _fraction(self, unit: int = 0) -> float:
        return min(1.0, self._units(unit) / self._total()) * (1 - _AFTERWARDS)

    def _report(self, phase: str, unit: int = 0) -> None:
        done, total = self._units(unit), self._total()
        fresh, left = done - self._units_before, None
        if fresh > 0:
            left = (time.monotonic() - self._started) / fresh * (total - done) / (1 - _AFTERWARDS)
        self._run.progress(self._fraction(unit), phase, eta_seconds=left, step=done, steps=total)


def _model(components: Sequence[Component], entries: int | None) -> LinearRecommender:
    whole = merged(components)
    return LinearRecommender(whole if entries is None else [kept_largest(one, entries) for one in whole])


def _first_variant(solver: Solver) -> Settings:
    return {name: values[0] for name, values in solver.axes.items()}


def _told(metrics: dict[str, float]) -> str:
    return f"recall@20 {metrics['recall@20']:.4f}, ndcg@20 {metrics['ndcg@20']:.4f}"
