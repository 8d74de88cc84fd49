"""Training a recommender: settings are chosen on the validation rows, then everything but the test rows is learned."""

import time
from typing import TYPE_CHECKING, cast

import torch

from workers.contracts.errors import JobError
from workers.engine.ranking import evaluate
from workers.engine.recommenders.interactions import (
    TEST,
    TRAIN,
    VALIDATION,
    HeldOut,
    Histories,
    histories,
    hold_out,
)
from workers.engine.recommenders.linear import LinearRecommender
from workers.engine.recommenders.reading import read_log
from workers.engine.recommenders.search import Settings, Trial, best_trial, propose
from workers.engine.recommenders.solvers import Part, Solver, choose
from workers.engine.recommenders.trained import Study, TrainedRecommender
from workers.task_templates.recommendation import Recommendation, RecommendationParams

if TYPE_CHECKING:
    from workers.engine.run import Run

METRIC = Recommendation.main_metric
# Users that settings are compared on; more would hardly change the order and take long on large data.
_JUDGES = 10_000
# Share of the progress bar for evaluation, export and the parity check.
_AFTERWARDS = 0.15


def train_recommender(run: "Run") -> TrainedRecommender:
    """Learn from the interactions of a run. Raises JobError."""
    params = cast(RecommendationParams, run.params)
    run.progress(0.0, "Reading the interactions")
    log, weighing = read_log(run.data_path, params.ratings, params.min_rating, run.seed)
    first = histories(log, log.split == TRAIN, params.min_interactions)
    validation = hold_out(log, log.split == VALIDATION, first).thinned(_JUDGES)
    known = histories(log, log.split != TEST, params.min_interactions)
    if not known.matrix.nnz or not first.matrix.nnz:
        raise JobError(
            "too_few_rows",
            "No interaction is left to learn from.",
            hint="Lower the fewest users per item, or look at the ratings.",
        )
    test = hold_out(log, log.split == TEST, known)
    if not len(validation.users) and not len(test.users):
        raise JobError(
            "too_few_rows",
            "No row is left to judge a model by.",
            hint="Add interactions: ten per user are a start; or give a split column with test rows.",
        )
    solver = choose(params, known, run.device, run.seed)
    run.log(f"{weighing.explanation} {len(known.users):,} users, {len(known.items):,} items: {solver.name.upper()}.")
    learning = _Learning(run, solver, params.trials)
    if len(validation.users):
        learning.search(first, validation)
    model, settings, variant = learning.finish(known)
    study = Study(log, first, validation, known, test, weighing, solver.name, settings, variant, learning.trials)
    return TrainedRecommender(run, study, model)


class _Learning:
    """The search and the final fit, as a list of equal units that can be interrupted after each."""

    def __init__(self, run: "Run", solver: Solver, budget: int) -> None:
        self._run, self._solver = run, solver
        # Where nothing is free, there is nothing to compare.
        self._budget = budget if solver.factors else 1
        self.trials: list[Trial] = []
        self._done: Part | None = None
        try:
            loaded = run.checkpoints.load()
        except JobError as error:
            run.log(f"The checkpoint is damaged ({error.evidence}); starting again.", "warning")
            loaded = None
        if loaded is not None:
            self.trials = loaded.state["trials"]
            unit = int(loaded.state["unit"])
            self._done = Part(unit, loaded.tensors["items"]) if unit else None
        self._started, self._units_before = time.monotonic(), self._units()

    def search(self, first: Histories, validation: HeldOut) -> None:
        """Fit and judge settings until the search has nothing more to propose."""
        solver = self._solver
        while settings := propose(self.trials, solver.start, solver.factors, self._budget, METRIC):
            phase = f"Trying settings {len(self.trials) + 1} of {self._budget}"
            fitted = self._fit(first, settings, phase)
            trial = self._judge(fitted, settings, first, validation)
            self.trials.append(trial)
            self._save(None)
            values = {f"validation/{name}": value for name, value in trial["metrics"].items()}
            self._run.metric(self._units(), values)
            self._run.judged(len(self.trials) - 1, self._budget, trial["metrics"][METRIC])
            described = ", ".join(f"{name} {value:g}" for name, value in {**settings, **trial["variant"]}.items())
            self._run.log(f"{phase}: {described} → {METRIC} {trial['metrics'][METRIC]:.4f} on the validation rows.")

    def finish(self, known: Histories) -> tuple[LinearRecommender, Settings, Settings]:
        """The model of all known rows, with the best settings and variant of the search."""
        settings, variant = self._solver.start, self._solver.variants[0]
        if self.trials:
            best = best_trial(self.trials, METRIC)
            settings, variant = best["settings"], best["variant"]
        fitted = self._fit(known, settings, "Learning from all rows but the test rows")
        return self._solver.build(fitted, variant), settings, variant

    def _judge(self, fitted: torch.Tensor, settings: Settings, first: Histories, validation: HeldOut) -> Trial:
        """The first variant that is nearly as good as the best one."""
        found = []
        for variant in self._solver.variants:
            model = self._solver.build(fitted, variant)
            found.append(
                Trial(settings=settings, variant=variant, metrics=evaluate(model.scores, first, validation).metrics)
            )
        enough = best_trial(found, METRIC)["metrics"][METRIC] * (1 - self._solver.slack)
        return next(trial for trial in found if trial["metrics"][METRIC] >= enough)

    def _fit(self, known: Histories, settings: Settings, phase: str) -> torch.Tensor:
        self._report(phase)
        done, self._done = self._done, None
        if done and done.unit >= self._solver.units:
            return done.tensor.to(self._run.device)

        def after(part: Part, loss: float | None) -> None:
            if part.tensor.numel():
                self._save(part)
            self._report(phase, part.unit)
            if loss is not None:
                self._run.metric(self._units(part.unit), {"train/loss": loss})

        return self._solver.fit(known, settings, done, after)

    def _save(self, part: Part | None) -> None:
        unit = part.unit if part else 0
        tensors = {"items": part.tensor} if part else {}
        self._run.checkpoints.save(self._units(unit), tensors, {"trials": self.trials, "unit": unit})

    def _units(self, unit: int | None = None) -> int:
        """Units that are behind us. Judging a trial counts as one more."""
        if unit is None:
            unit = self._done.unit if self._done else 0
        return len(self.trials) * (self._solver.units + 1) + unit

    def _report(self, phase: str, unit: int | None = None) -> None:
        total = self._budget * (self._solver.units + 1) + self._solver.units
        done = self._units(unit)
        fresh = done - self._units_before
        left = None
        if fresh > 0:
            left = (time.monotonic() - self._started) / fresh * (total - done) / (1 - _AFTERWARDS)
        fraction = min(1.0, done / total) * (1 - _AFTERWARDS)
        self._run.progress(fraction, phase, eta_seconds=left, step=done, steps=total)
