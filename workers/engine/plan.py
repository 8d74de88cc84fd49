"""How a job comes to its model: one training, or a search before it, or folds beside it."""

from dataclasses import dataclass, field
from typing import Any

from workers.engine.ledger import Ledger
from workers.engine.parts import Part, Span
from workers.engine.run import HeldOut, Run, Trained, UnlikeError
from workers.task_templates.base import FoldedParams, TaskTemplate

# How much of the progress bar a training takes beside another: one that was done before is only read again.
_TRIALS_IF_TIMED = 10
_DONE_BEFORE = 0.3


@dataclass
class Learned:
    """The model, the run that it comes from (with the parameters that it was trained with), and what else was found
    out: entries for TrainResult.metrics and TrainResult.report."""

    run: Run
    trained: Trained
    metrics: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    # What the folds' models answered of the rows that each did not learn from; all training and validation rows.
    held_out: list[HeldOut] = field(default_factory=list)


def learn(run: Run, template: TaskTemplate) -> Learned:
    """Search, cross-validate and train, as the parameters ask. Raises JobError."""
    tune = run.params.tune
    folds = run.params.folds if isinstance(run.params, FoldedParams) else 0
    if not tune and not folds:
        return Learned(run, template.train(run))
    ledger = Ledger(run)
    trials = (tune.trials or _TRIALS_IF_TIMED) if tune else 0
    whole = trials + folds + (_DONE_BEFORE if tune else 1.0)
    # What the model itself is trained by: the run's own parameters, or those of the best trial.
    name, params = "", run.params
    metrics: dict[str, Any] = {}
    report: dict[str, Any] = {}
    held_out: list[HeldOut] = []
    if tune:
        # Here, not above: a job without a search does not load Optuna.
        from workers.engine.search import name_of, params_of, search

        best = search(run, template, ledger, tune, trials / whole)
        name, params = name_of(best), params_of(run, template, best)
        tried = [trial.model_dump(mode="json", exclude={"time", "type", "scores"}) for trial in ledger.trials]
        report["search"] = {"metric": template.metric_for(run.multi_label), "best": best.number, "trials": tried}
    span = Span((trials + folds) / whole, 1.0)
    final = Part(run, ledger, name=name, params=params, span=span, quiet=False)
    if folds:
        from workers.engine.folds import cross_validate

        window = Span(trials / whole, span.low)
        found, models, held_out = cross_validate(final, template, ledger, window)
        if found:
            metrics["cross_validation"] = report["cross_validation"] = found
        if len(models) > 1:
            try:
                return Learned(final, models[0].averaged(final, models[1:]), metrics, report, held_out)
            except UnlikeError:
                run.log(
                    "The folds' models do not read inputs alike, so they cannot answer as one. The model is trained on "
                    "the given split.",
                    "warning",
                )
    return Learned(final, template.train(final), metrics, report, held_out)
