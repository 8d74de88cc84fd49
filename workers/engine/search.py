"""`tune`: a search for better parameters with Optuna, by a tree-structured Parzen estimator and median pruning.

What to try next follows from the finished trials and the seed alone (Bergstra et al., Algorithms for hyper-parameter
optimization, 2011), so a search that was killed goes on with the very trial that it was at.
"""

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.contracts.errors import JobError
from workers.contracts.events import Trial
from workers.contracts.job import Tune
from workers.engine.ledger import Ledger
from workers.engine.parts import Part, Span
from workers.engine.run import Run
from workers.task_templates.base import Params, TaskTemplate
from workers.task_templates.search_space import Range, SearchSpace

if TYPE_CHECKING:
    import optuna

# Trials that are never cut short: before, nobody knows what is worse than most.
_UNPRUNED = 4
# Share of the job's time limit that the search may use; the rest is for evaluation, export and certificate.
_TIME_SHARE = 0.85
_SECONDS_BETWEEN_EVENTS = 0.5
_MOST_SCORES = 1000
# What other parameters may do better: the trial has failed, the search goes on.
_SURVIVED = frozenset({"not_finite", "out_of_memory"})


class Pruned(Exception):
    """Worse than most trials were at this point."""


class OutOfTime(Exception):
    """The search's time is over in the middle of a trial."""


def search(run: Run, template: TaskTemplate, ledger: Ledger, tune: Tune, high: float) -> Trial:
    """Try parameters until the budget is spent; the best trial.

    Its training is done and saved under `name_of` it: to train it again takes no more than reading the data. `high` is
    where the progress bar is then. Raises JobError where no trial has come to an end, or where there are no rows to
    compare them by.
    """
    if not len(run.split("validation", ["row"])):
        raise JobError("too_few_rows", evidence="Settings are compared on validation rows; there are none.")
    space = template.searched(run.train.parameters)
    run.log(f"Searching {', '.join(space)}: {_budget_words(tune)}.")
    for trial in ledger.trials:
        run.job_dir.emit(trial)
    budget = _Budget(run, tune, ledger, high)
    failure: JobError | None = None
    while budget.has_room():
        failure = _Attempt(run, template, ledger, space, budget).run() or failure
    best = best_trial(ledger.trials)
    if best is None:
        raise failure or JobError("not_finite", evidence=ledger.trials[-1].reason)
    told = ", ".join(f"{name} {_short(value)}" for name, value in best.parameters.items())
    run.log(f"The best of {len(ledger.trials)} trials is trial {best.number}: {told}.")
    return best


def best_trial(trials: list[Trial]) -> Trial | None:
    """The trial with the highest score that has a whole model, the first of equals."""
    whole = [trial for trial in trials if trial.state in ("complete", "stopped") and trial.score is not None]
    return max(whole, key=lambda trial: (trial.score or 0.0, -trial.number), default=None)


def propose(trials: list[Trial], space: SearchSpace, defaults: dict[str, Any], seed: int) -> "optuna.Trial":
    """The trial to make after these: at first the defaults, then at random, then where good ones were."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    number = len(trials) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=(seed * 1_000_003 + number) % 2**32, n_startup_trials=6, multivariate=True
        )
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    distributions = {name: _distribution(values) for name, values in space.items()}
    for trial in trials:
        study.add_trial(_frozen(trial, distributions))
    if number == 1:
        study.enqueue_trial(defaults)
    return study.ask(distributions)


def _distribution(values: Any) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(values, Range):
        return CategoricalDistribution(values.values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _frozen(trial: Trial, distributions: "dict[str, optuna.distributions.BaseDistribution]") -> Any:
    from optuna.trial import TrialState, create_trial

    state, value = TrialState.FAIL, None
    if trial.state == "pruned" and trial.scores:
        state = TrialState.PRUNED
    elif trial.state in ("complete", "stopped") and trial.score is not None:
        state, value = TrialState.COMPLETE, trial.score
    return create_trial(
        state=state,
        value=value,
        params=dict(trial.parameters),
        distributions=distributions,
        intermediate_values=dict(trial.scores),
    )


class _Budget:
    """How much of a search is left: trials that are not finished, seconds that no attempt has used."""

    def __init__(self, run: Run, tune: Tune, ledger: Ledger, high: float) -> None:
        self._run, self._tune, self._ledger, self._high = run, tune, ledger, high

    def has_room(self) -> bool:
        """Whether to begin one more trial."""
        trials = self._ledger.trials
        if self._tune.trials is not None and len(trials) >= self._tune.trials:
            return False
        return not trials or not self.is_over(0.0)

    def is_over(self, seconds: float) -> bool:
        """Whether the time is over, after so many seconds of the trial under way."""
        minutes = self._tune.minutes
        used = self._used() + seconds
        late = self._run.clock() > _TIME_SHARE * self._run.spec.time_limit_s
        return late or (minutes is not None and used >= 60 * minutes)

    def span(self) -> Span:
        """The next trial's window: by number, or by time where that ends sooner."""
        done, trials, minutes = len(self._ledger.trials), self._tune.trials, self._tune.minutes
        if trials is not None:
            return Span(self._high * done / trials, self._high * (done + 1) / trials, self._later)
        share = min(1.0, self._used() / (60 * (minutes or 1)))
        mean = self._used() / done if done else 60 * (minutes or 1)
        return Span(self._high * share, self._high * min(1.0, share + mean / (60 * (minutes or 1))), self._later)

    @property
    def trials(self) -> str:
        """ " of 20", or nothing where only time counts."""
        return f" of {self._tune.trials}" if self._tune.trials else ""

    def _used(self) -> float:
        return sum(trial.seconds for trial in self._ledger.trials)

    def _later(self, seconds: float) -> float:
        """Seconds of the trials after the one that takes `seconds`."""
        done = len(self._ledger.trials)
        mean = (self._used() + seconds) / (done + 1)
        left = []
        if self._tune.trials is not None:
            left.append(mean * max(0, self._tune.trials - done - 1))
        if self._tune.minutes is not None:
            left.append(max(0.0, 60 * self._tune.minutes - self._used() - seconds))
        return min(left)


class _Attempt:
    """One trial: its proposal, its training, what is told and kept of it."""

    def __init__(self, run: Run, template: TaskTemplate, ledger: Ledger, space: SearchSpace, budget: _Budget) -> None:
        self._run, self._template, self._ledger, self._budget = run, template, ledger, budget
        defaults = {name: getattr(run.params, name) for name in space}
        self._asked = propose(ledger.trials, space, defaults, run.seed)
        picked = {name: float(f"{v:.4g}") if isinstance(v, float) else v for name, v in self._asked.params.items()}
        number = len(ledger.trials) + 1
        known = ledger.running
        if known is None or known.number != number or known.parameters != picked:
            known = Trial(time=time.time(), number=number, parameters=picked, state="running")
        self._trial = known
        # Test rows are none of a search's business.
        self._hidden = {"test": np.zeros(run.rows, dtype=bool)}
        self._before = known.seconds
        self._told = 0.0
        for epoch, score in known.scores:
            self._asked.report(score, epoch)
        ledger.running = known

    def run(self) -> JobError | None:
        """Train, and write down how it ended; the error where it failed."""
        failure = None
        part = _TrialPart(self)
        self._tell(now=True)
        try:
            # Not the best score along the way: what was trained may have become part of something better.
            self._trial.score = self._template.train(part).validation_score(
                self._template.metric_for(self._run.multi_label)
            )
            self._end("complete" if self._trial.state == "running" else self._trial.state)
        except Pruned:
            self._end("pruned", "Worse than most trials were at this point.")
        except OutOfTime:
            self._end("stopped", "The time for the search was over.")
            self._trial.score = None
        except JobError as error:
            if error.code not in _SURVIVED:
                raise
            failure = error
            self._end("failed", error.evidence or error.message)
        self._trial.seconds = round(self._before + part.seconds, 3)
        self._conclude(part)
        return failure

    def _conclude(self, part: Part) -> None:
        """Keep the checkpoint of the best trial, drop the others'."""
        ledger, trial = self._ledger, self._trial
        before = best_trial(ledger.trials)
        ledger.trials.append(trial)
        ledger.running = None
        is_best = best_trial(ledger.trials) is trial
        if is_best:
            ledger.kept = part.saved()
        ledger.announce()
        self._tell(now=True)
        if not is_best:
            part.discard()
        elif before is not None:
            Part(self._run, ledger, name=name_of(before), params=self._run.params, span=Span(0, 0)).discard()
        told = ", ".join(f"{name} {_short(value)}" for name, value in trial.parameters.items())
        score = (
            f"{self._template.metric_for(self._run.multi_label)} {trial.score:.4f}"
            if trial.score is not None
            else trial.reason
        )
        note = " – the best so far" if is_best else f" ({trial.state})" if trial.state != "complete" else ""
        self._run.log(f"Trial {trial.number}{self._budget.trials}: {told} → {score}{note}")

    def judged(self, epoch: int, epochs: int, score: float, seconds: float) -> bool:
        """After an epoch: note it, prune, look at the clock. False: end with the best weights so far."""
        trial = self._trial
        trial.scores = [*(pair for pair in trial.scores if pair[0] != epoch), (epoch, score)][-_MOST_SCORES:]
        trial.score = max(value for _epoch, value in trial.scores)
        trial.seconds = round(self._before + seconds, 3)
        self._tell()
        self._asked.report(score, epoch)
        # The first epochs say little: the learning rate is still climbing.
        if epoch + 1 >= max(2, epochs // 5) and epoch + 1 < epochs and self._asked.should_prune():
            raise Pruned
        if epoch + 1 < epochs and self._budget.is_over(trial.seconds):
            if best_trial(self._ledger.trials):
                raise OutOfTime
            self._trial.state, self._trial.reason = "stopped", "The time for the search was over."
            return False
        return True

    def waited(self, seconds: float) -> None:
        """Between epochs: a trial that cannot end in time is given up where there is another model already."""
        if self._budget.is_over(self._before + seconds) and best_trial(self._ledger.trials):
            raise OutOfTime

    def part(self) -> dict[str, Any]:
        """How the trial trains."""
        return {
            "whole": self._run,
            "ledger": self._ledger,
            "name": name_of(self._trial),
            "params": params_of(self._run, self._template, self._trial),
            "span": self._budget.span(),
            "title": f"Trial {self._trial.number}{self._budget.trials}",
            "masks": self._hidden.get,
        }

    def _end(self, state: Any, reason: str = "") -> None:
        self._trial.state = state
        self._trial.reason = reason[:400] or self._trial.reason

    def _tell(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._told > _SECONDS_BETWEEN_EVENTS:
            self._told = time.monotonic()
            self._trial.time = time.time()
            self._run.job_dir.emit(self._trial)


class _TrialPart(Part):
    """A trial's training: it reports to the search and may be ended by it."""

    def __init__(self, attempt: _Attempt) -> None:
        super().__init__(**attempt.part())
        self._attempt = attempt

    def judged(self, epoch: int, epochs: int, score: float) -> bool:
        """See Run."""
        return self._attempt.judged(epoch, epochs, score, self.seconds)

    def progress(self, *args: Any, **more: Any) -> None:
        """How far the job is; here the search may look at the clock, too."""
        super().progress(*args, **more)
        self._attempt.waited(self.seconds)


def name_of(trial: Trial) -> str:
    """The name of a trial's checkpoints."""
    return f"trial-{trial.number}"


def params_of(run: Run, template: TaskTemplate, trial: Trial) -> Params:
    """A run's parameters with those of a trial."""
    return template.params.model_validate({**run.params.model_dump(), **trial.parameters})


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _budget_words(tune: Tune) -> str:
    words = [f"{tune.trials} trials"] if tune.trials else []
    words += [f"{tune.minutes:g} minutes"] if tune.minutes else []
    return " or ".join(words)
