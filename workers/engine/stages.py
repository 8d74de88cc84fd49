"""Several trainings of one run, one after another: each a stage with its own checkpoints and share of the progress.

A resumed run begins the same stages again. One that was through finds its end in its checkpoint and trains no more;
every checkpoint of a later stage names those files too.
"""

from typing import TYPE_CHECKING, Unpack

from workers.contracts.events import Pace
from workers.engine.checkpoints import CheckpointStore
from workers.engine.progress import LOOP_END
from workers.engine.run import Run

if TYPE_CHECKING:
    import numpy as np


class Stage(Run):
    """One training of a run: `low` to `high` of its progress. Steps count on from the stage before it, `after`.

    A stage without a name has the checkpoints of the run itself. A stage may have stages of its own. `title` stands
    before what it says of its progress; `seed` is the run's where it is not given.
    """

    def __init__(
        self,
        whole: Run,
        name: str,
        low: float,
        high: float,
        after: "Stage | None" = None,
        *,
        seed: int | None = None,
        title: str = "",
    ) -> None:
        super().__init__(
            whole.job_dir, whole.spec, whole.params, name="-".join(filter(None, (whole.name, name))), clock=whole.clock
        )
        self._whole, self._low, self._high, self._title = whole, low, high, title
        self.seed = whole.seed if seed is None else seed
        self.chosen = whole.chosen
        self.first_step: int = after.first_step + after.checkpoints.last_step() if after else 0
        self.checkpoints = CheckpointStore(
            whole.job_dir,
            self.fingerprint(),
            whole.clock,
            name=self.name,
            first_step=whole.checkpoints.first_step + self.first_step,
            beside=lambda: [
                *(after or whole).checkpoints.beside(),
                *(after.checkpoints.newest() if after else []),
            ],
        )

    @property
    def preparation(self) -> Run:
        """See Run."""
        return self if self._whole.preparation is self._whole else self._whole.preparation

    def mask(self, name: str) -> "np.ndarray | None":
        """See Run."""
        return self._whole.mask(name)

    def progress(self, fraction: float, phase: str, **pace: Unpack[Pace]) -> None:
        """How far the run is. What a later stage will take is guessed by its share."""
        if (left := pace.get("eta_seconds")) is not None:
            pace["eta_seconds"] = round(left * (1 - self._low) / (self._high - self._low), 1)
        # A training ends at LOOP_END of its run: what follows comes once, after the last stage.
        place = LOOP_END * (self._low + (self._high - self._low) * min(1.0, fraction / LOOP_END))
        self._whole.progress(place, f"{self._title}: {phase}" if self._title else phase, **pace)

    def metric(self, step: int, values: dict[str, float]) -> None:
        """Told as of a step of the whole run."""
        self._whole.metric(self.first_step + step, values)

    def log(self, message: str, level: str = "info") -> None:
        """See Run."""
        self._whole.log(message, level)

    def judged(self, epoch: int, epochs: int, score: float) -> bool:
        """Told by the last stage alone, which the others are there for."""
        return self._high < 1 or self._whole.judged(epoch, epochs, score)
