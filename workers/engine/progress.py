"""What the training loop says while it runs: progress with time left, metric series, lines for a person."""

import math
import time

from workers.engine.run import Run

# The training loop's part of the whole job: before it the data is prepared, after it the model is judged and exported.
LOOP_START, LOOP_END = 0.05, 0.90
_POINTS = 200
_SECONDS_BETWEEN_PROGRESS = 0.5


class Reporter:
    """Counts steps and speaks often enough, never too often. Metrics go by steps: a resumed curve is the same."""

    def __init__(self, run: Run, steps: int, first_step: int) -> None:
        self._run = run
        self._steps = steps
        self._first_step = first_step
        self._every = math.ceil(steps / _POINTS)
        self._started = time.monotonic()
        self._spoken = 0.0
        self._examples = 0

    def step(self, step: int, examples: int) -> None:
        """After each update: say progress if it is time to."""
        self._examples += examples
        now = time.monotonic()
        if now - self._spoken < _SECONDS_BETWEEN_PROGRESS and step < self._steps:
            return
        self._spoken = now
        seconds_per_step = (now - self._started) / (step - self._first_step)
        share = step / self._steps
        self._run.progress(
            LOOP_START + (LOOP_END - LOOP_START) * share,
            "Training",
            eta_seconds=round(seconds_per_step * (self._steps - step) * 1.05 + 2, 1),
            step=step,
            steps=self._steps,
        )

    def due(self, step: int) -> bool:
        """Whether the training metrics are to be told at this step."""
        return step % self._every == 0

    def train(self, step: int, loss: float, learning_rate: float) -> None:
        """Mean loss since the last time, learning rate, examples per second."""
        speed = self._examples / max(1e-6, time.monotonic() - self._started)
        self._run.metric(
            step, {"train/loss": loss, "train/learning_rate": learning_rate, "train/examples_per_second": speed}
        )

    def validation(
        self, step: int, epoch: int, epochs: int, score: float, loss: float, better: bool, multi_label: bool
    ) -> None:
        """The end of an epoch. `score`: accuracy, or of several labels the mean average precision."""
        name = "mean_average_precision" if multi_label else "accuracy"
        self._run.metric(step, {f"validation/{name}": score, "validation/loss": loss})
        note = " – the best so far" if better else ""
        said = f"mean average precision {score:.4f}" if multi_label else f"{score:.1%} of the validation rows are right"
        self._run.log(f"Epoch {epoch + 1} of {epochs}: {said}{note}.")
