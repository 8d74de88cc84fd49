"""What a job of several trainings has behind it: part of each checkpoint, so that a killed job goes on there."""

import hashlib
import json
import re
from typing import Any

from pydantic import ValidationError

from workers.contracts.events import Trial
from workers.contracts.jobdir import write_atomic
from workers.engine.run import Run

_NAME = re.compile(r"ledger-(\d{6})\.json\Z")
# The runner may still be uploading the ones before the newest.
_KEEP = 3


class Ledger:
    """The finished trials and folds of a job, and the trial under way.

    Each change becomes a file of a new name: a checkpoint that was announced stays what it was.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._folder = run.job_dir.checkpoints
        self._fingerprint = run.fingerprint()
        self._saved = b""
        self._number = 0
        self.trials: list[Trial] = []
        self.running: Trial | None = None
        # Metrics of the held-out rows, of each fold that is done.
        self.folds: list[dict[str, float]] = []
        # Checkpoint files of finished trainings that are still needed.
        self.kept: list[str] = []
        self._load()

    def files(self) -> list[str]:
        """The files of a whole checkpoint of the job; what has changed is written first."""
        content = json.dumps(self._content(), sort_keys=True, allow_nan=False).encode()
        if content != self._saved:
            self._number += 1
            self._saved = content
            head = {"sha256": hashlib.sha256(content).hexdigest(), "useful_seconds": self._run.useful_seconds()}
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._folder / self._name(), json.dumps({**head, "content": content.decode()}).encode())
            for old in self._numbers()[:-_KEEP]:
                (self._folder / f"ledger-{old:06d}.json").unlink(missing_ok=True)
        return [self._name(), *self.kept]

    def announce(self) -> None:
        """A checkpoint between two trainings."""
        self._run.job_dir.checkpoint(0, self.files())

    def _content(self) -> dict[str, Any]:
        return {
            "fingerprint": self._fingerprint,
            "trials": [trial.model_dump(mode="json") for trial in self.trials],
            "running": self.running.model_dump(mode="json") if self.running else None,
            "folds": self.folds,
            "kept": self.kept,
        }

    def _load(self) -> None:
        """What the newest file says, if it is of this job's work and whole."""
        numbers = self._numbers()
        if not numbers:
            return
        self._number = numbers[-1]
        try:
            head = json.loads((self._folder / self._name()).read_bytes())
            if hashlib.sha256(head["content"].encode()).hexdigest() != head["sha256"]:
                raise ValueError("its content is not what was saved")
            content = json.loads(head["content"])
            if content["fingerprint"] != self._fingerprint:
                return
            trials = [Trial.model_validate(trial) for trial in content["trials"]]
            running = Trial.model_validate(content["running"]) if content["running"] else None
            self.folds, self.kept = list(content["folds"]), list(content["kept"])
            self.trials, self.running = trials, running
            self._run.clock.resume(float(head["useful_seconds"]))
        except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
            self._run.log(f"The record of what was tried cannot be used ({error}); starting again.", "warning")

    def _name(self) -> str:
        return f"ledger-{self._number:06d}.json"

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self._folder.iterdir() if (match := _NAME.match(path.name)))
