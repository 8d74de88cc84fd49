"""Checkpoints: safetensors and JSON, each checked by sha256, never pickled."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.contracts.errors import JobError
from workers.contracts.jobdir import JobDir, write_atomic

if TYPE_CHECKING:
    import torch

# The runner may still be uploading the one before the newest.
_KEEP = 2


class Loaded(NamedTuple):
    """What was saved: the step, tensors by name, and a JSON-like state."""

    step: int
    tensors: "dict[str, torch.Tensor]"
    state: dict[str, Any]


class Clock:
    """The useful seconds of a job: those of this attempt, and of earlier ones up to what it resumed from."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._before = 0.0

    def __call__(self) -> float:
        return self._before + time.monotonic() - self._started

    def resume(self, seconds: float) -> None:
        """Count what had been done when a checkpoint was saved."""
        self._before = max(self._before, seconds)


class CheckpointStore:
    """The checkpoints of one training, in the job's folder `checkpoints/`.

    `fingerprint` names what is being trained: a checkpoint of other parameters or other data is not resumed from.
    `clock` tells the useful seconds so far; they are saved along, so that the sum over attempts holds no lost work.
    A job of several trainings gives each a `name`; `beside` lists the files that belong to a whole checkpoint of the
    job, too, and `first_step` is how many steps of others went before.
    """

    def __init__(
        self,
        job_dir: JobDir,
        fingerprint: str,
        clock: Clock,
        *,
        name: str = "",
        beside: Callable[[], list[str]] = list,
        first_step: int = 0,
    ) -> None:
        self._job_dir = job_dir
        self._folder = job_dir.checkpoints
        self._fingerprint = fingerprint
        self._clock = clock
        self._prefix = f"{name}-" if name else ""
        self.beside = beside
        self.first_step = first_step
        self._pattern = re.compile(rf"{re.escape(self._prefix)}step-(\d{{9}})\.json\Z")

    def save(self, step: int, tensors: "dict[str, torch.Tensor]", state: dict[str, Any]) -> None:
        """Write a checkpoint, announce it, and drop the ones before the last two.

        The JSON is written last and carries the sha256 of the tensors: where it exists, the checkpoint is whole.
        Raises OSError (a full disk), ValueError where `state` is no JSON.
        """
        import safetensors.torch

        stem = self._stem(step)
        self._folder.mkdir(parents=True, exist_ok=True)
        data = safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        header = {
            "step": step,
            "fingerprint": self._fingerprint,
            "useful_seconds": self._clock(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "state": state,
        }
        write_atomic(self._folder / f"{stem}.safetensors", data)
        write_atomic(self._folder / f"{stem}.json", json.dumps(header, allow_nan=False).encode())
        own = [f"{stem}.safetensors", f"{stem}.json"]
        self._job_dir.checkpoint(self.first_step + step, own + [name for name in self.beside() if name not in own])
        self._drop(self._steps()[:-_KEEP])

    def load(self) -> Loaded | None:
        """The newest checkpoint of this very training, or None. Raises JobError `checkpoint_corrupt`."""
        import safetensors.torch

        steps = self._steps()
        if not steps:
            return None
        stem = self._stem(steps[-1])
        try:
            header = json.loads((self._folder / f"{stem}.json").read_bytes())
            data = (self._folder / f"{stem}.safetensors").read_bytes()
            if hashlib.sha256(data).hexdigest() != header["sha256"]:
                raise ValueError("the tensors are not those that were saved")
            if header["fingerprint"] != self._fingerprint:
                return None
            loaded = Loaded(int(header["step"]), safetensors.torch.load(data), dict(header["state"]))
            self._clock.resume(float(header["useful_seconds"]))
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            safetensors.SafetensorError,
        ) as error:
            raise JobError("checkpoint_corrupt", evidence=f"{stem}: {error}") from None
        return loaded

    def newest(self) -> list[str]:
        """The names of the newest checkpoint's files; [] where there is none."""
        return [f"{self._stem(step)}.{suffix}" for step in self._steps()[-1:] for suffix in ("safetensors", "json")]

    def last_step(self) -> int:
        """The step of the newest checkpoint; 0 where there is none."""
        return max(self._steps(), default=0)

    def discard(self) -> None:
        """Remove all checkpoints of this training."""
        self._drop(self._steps())

    def _drop(self, steps: list[int]) -> None:
        for step in steps:
            for suffix in ("json", "safetensors"):
                (self._folder / f"{self._stem(step)}.{suffix}").unlink(missing_ok=True)

    def _stem(self, step: int) -> str:
        return f"{self._prefix}step-{step:09d}"

    def _steps(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self._folder.iterdir() if (match := self._pattern.match(path.name)))
