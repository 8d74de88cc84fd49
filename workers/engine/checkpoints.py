"""Checkpoints: safetensors and JSON, each checked by sha256, never pickled."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from workers.contracts.errors import JobError
from workers.contracts.jobdir import JobDir, write_atomic

if TYPE_CHECKING:
    import torch

_NAME = re.compile(r"step-(\d{9})\.json\Z")
# The runner may still be uploading the one before the newest.
_KEEP = 2


class Loaded(NamedTuple):
    """What was saved: the step, tensors by name, and a JSON-like state."""

    step: int
    tensors: "dict[str, torch.Tensor]"
    state: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one job, in its folder `checkpoints/`.

    `fingerprint` names what is being trained: a checkpoint of other parameters or other data is not resumed from.
    `clock` tells the useful seconds so far; they are saved along, so that the sum over attempts holds no lost work.
    """

    def __init__(self, job_dir: JobDir, fingerprint: str, clock: Callable[[], float]) -> None:
        self._job_dir = job_dir
        self._folder = job_dir.checkpoints
        self._fingerprint = fingerprint
        self._clock = clock
        self.useful_seconds_before = 0.0

    def save(self, step: int, tensors: "dict[str, torch.Tensor]", state: dict[str, Any]) -> None:
        """Write a checkpoint, announce it, and drop the ones before the last two.

        The JSON is written last and carries the sha256 of the tensors: where it exists, the checkpoint is whole.
        Raises OSError (a full disk), ValueError where `state` is no JSON.
        """
        import safetensors.torch

        stem = f"step-{step:09d}"
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
        self._job_dir.checkpoint(step, [f"{stem}.safetensors", f"{stem}.json"])
        for old in self._steps()[:-_KEEP]:
            for suffix in ("json", "safetensors"):
                (self._folder / f"step-{old:09d}.{suffix}").unlink(missing_ok=True)

    def load(self) -> Loaded | None:
        """The newest checkpoint of this very training, or None. Raises JobError `checkpoint_corrupt`."""
        import safetensors.torch

        steps = self._steps()
        if not steps:
            return None
        stem = f"step-{steps[-1]:09d}"
        try:
            header = json.loads((self._folder / f"{stem}.json").read_bytes())
            data = (self._folder / f"{stem}.safetensors").read_bytes()
            if hashlib.sha256(data).hexdigest() != header["sha256"]:
                raise ValueError("the tensors are not those that were saved")
            if header["fingerprint"] != self._fingerprint:
                return None
            loaded = Loaded(int(header["step"]), safetensors.torch.load(data), dict(header["state"]))
            self.useful_seconds_before = float(header["useful_seconds"])
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            safetensors.SafetensorError,
        ) as error:
            raise JobError("checkpoint_corrupt", evidence=f"{stem}: {error}") from None
        return loaded

    def _steps(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self._folder.iterdir() if (match := _NAME.match(path.name)))
