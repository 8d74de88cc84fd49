"""Parts of a job: trials and folds. Each trains like a run of its own, so that templates need not know."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from workers.contracts.events import Pace
from workers.engine.ledger import Ledger
from workers.engine.run import Run

if TYPE_CHECKING:
    import numpy as np

    from workers.task_templates.base import Params

Masks = Callable[[str], "np.ndarray | None"]


@dataclass(frozen=True)
class Span:
    """A part's place in its job: from where to where the progress bar goes meanwhile, and what comes after it.

    `later(seconds)`: the seconds that the job needs once this part is through, given what the part takes as a whole.
    """

    low: float
    high: float
    later: Callable[[float], float] = lambda _seconds: 0.0


class Part(Run):
    """One training of a job of several: own parameters, rows, checkpoints and window of the progress bar.

    `title` ("Trial 3 of 20") stands before what it says. A quiet part tells no metrics and only warnings: a curve has
    one value per step, and a log is for reading.
    """

    def __init__(
        self,
        whole: Run,
        ledger: Ledger,
        *,
        name: str,
        params: "Params",
        span: Span,
        title: str = "",
        quiet: bool = True,
        masks: Masks | None = None,
        preparation: Run | None = None,
    ) -> None:
        super().__init__(whole.job_dir, whole.spec, params, name=name, clock=whole.clock, beside=ledger.files)
        self._span = span
        self._title = title
        self._quiet = quiet
        self._masks = masks
        self._preparation = preparation
        self._started = self.clock()

    def mask(self, name: str) -> "np.ndarray | None":
        """Which rows make up a split of this part."""
        return self._masks(name) if self._masks else None

    @property
    def preparation(self) -> Run:
        """See Run."""
        return self._preparation or self

    def saved(self) -> list[str]:
        """The files of its newest checkpoint, and of those of its stages."""
        newest = {match[1]: path.name for path, match in self._files()}
        return sorted(path.name for path, match in self._files() if path.stem == Path(newest[match[1]]).stem)

    def discard(self) -> None:
        """Remove its checkpoints."""
        for path, _match in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[Path, re.Match[str]]]:
        """Its files and those of its stages, by stage and step."""
        pattern = re.compile(rf"({re.escape(self.name)}-(?:[a-z]+-)?)step-[0-9]{{9}}\.(?:json|safetensors)\Z")
        folder = self.job_dir.checkpoints
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        return [(path, match) for path in paths if (match := pattern.match(path.name))]

    @property
    def seconds(self) -> float:
        """Since this part began, in this attempt."""
        return self.clock() - self._started

    def progress(self, fraction: float, phase: str, **pace: Unpack[Pace]) -> None:
        """How far the job is, by how far this part is."""
        if (left := pace.get("eta_seconds")) is not None:
            pace["eta_seconds"] = round(left + self._span.later(self.seconds + left), 1)
        place = self._span.low + (self._span.high - self._span.low) * min(1.0, fraction)
        phase = f"{self._title}: {phase}" if self._title else phase
        super().progress(place, phase[:80], **pace)

    def metric(self, step: int, values: dict[str, float]) -> None:
        """Kept to itself by a quiet part."""
        if not self._quiet:
            super().metric(step, values)

    def log(self, message: str, level: str = "info") -> None:
        """Only warnings of a quiet part."""
        if not self._quiet:
            super().log(message, level)
        elif level != "info":
            super().log(f"{self._title}: {message}", level)
