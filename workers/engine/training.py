"""What a training holds, and how it becomes a checkpoint and comes back from one."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from workers.contracts.errors import JobError
from workers.engine import heap
from workers.engine.checkpoints import Loaded
from workers.engine.optimizing import Average
from workers.engine.run import Run
from workers.engine.settings import Settings


@dataclass
class Position:
    """Where training is; saved as JSON with each checkpoint."""

    step: int = 0
    best_score: float = -1.0
    best_loss: float = math.inf
    # The lowest loss of any epoch, and the last epoch that was better than all before it by score or by loss.
    lowest_loss: float = math.inf
    gained_epoch: int = -1
    micro_batch: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    # A resumed training computes with as many threads: another number rounds differently.
    threads: int = 1
    # 0.5 after a loss that was no number.
    rate_scale: float = 1.0
    # Why training ended before its last epoch, of _ENDS.
    ended: str = ""


@dataclass
class Training:
    """Everything that a checkpoint holds, and what a step needs."""

    run: Run
    settings: Settings
    model: nn.Module
    # The model as it is trained: itself, or wrapped to share gradients; and as it is called: that, or compiled.
    network: nn.Module
    called: Callable[[torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    # The parameters that the optimizer moves.
    moved: list[nn.Parameter]
    # A context for the forward pass: in lower precision, or as it is.
    precision: AbstractContextManager[Any]
    scaler: torch.amp.GradScaler
    average: Average | None
    # float32 [labels], of each class in the loss.
    weights: torch.Tensor
    # Whether each label is asked about by itself.
    multi_label: bool
    at: Position
    best: dict[str, torch.Tensor] = field(default_factory=dict)


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's weights as they are now, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _tensors(now: Training, over: bool = False) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, by name. Where training is over, no more than the best weights are needed."""
    named = {f"best.{name}": tensor for name, tensor in now.best.items()}
    if over:
        return named
    named |= {f"model.{name}": tensor for name, tensor in now.model.state_dict().items()}
    if now.average:
        named |= {f"average.{name}": tensor for name, tensor in now.average.model.state_dict().items()}
    for index, slot in now.optimizer.state_dict()["state"].items():
        named |= {f"optimizer.{index}.{name}": value for name, value in slot.items() if value is not None}
    return named


def _state(now: Training) -> dict[str, Any]:
    """The rest of a checkpoint, for JSON."""
    # JSON has no infinity.
    at = {name: None if value == math.inf else value for name, value in vars(now.at).items()}
    return {"at": at, "scaler": now.scaler.state_dict()}


def snapshot(now: Training) -> Loaded:
    """What a checkpoint of this moment would hold."""
    return Loaded(now.at.step, {name: t.detach().cpu().clone() for name, t in _tensors(now).items()}, _state(now))


def save(now: Training, over: bool = False) -> float:
    """Write a checkpoint, the last one where training is `over`; returns the seconds it took.

    What freed tensors have left in the heap since the last one goes back to the system.
    """
    heap.release()
    if now.run.world.rank:
        return 0.0
    started = time.monotonic()
    now.run.checkpoints.save(now.at.step, _tensors(now, over), _state(now))
    return time.monotonic() - started


def resume(now: Training, fresh: Loaded) -> None:
    """Set everything to the last checkpoint, or to the start where there is none or it is damaged."""
    try:
        loaded = now.run.checkpoints.load()
        _set_to(now, loaded or fresh)
    except (JobError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = error.evidence if isinstance(error, JobError) else str(error)[:200]
        now.run.log(f"The checkpoint cannot be used, training starts from the beginning. ({reason})", "warning")
        _set_to(now, fresh)
        return
    if loaded:
        now.run.log(f"Resumed at step {now.at.step}.")


def _set_to(now: Training, loaded: Loaded) -> None:
    parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "average": {}, "optimizer": {}}
    for name, tensor in loaded.tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    at: dict[str, Any] = {name: math.inf if value is None else value for name, value in loaded.state["at"].items()}
    now.model.load_state_dict(parts["model"] or parts["best"])
    if now.average:
        now.average.model.load_state_dict(parts["average"] or parts["best"])
    slots: dict[int, dict[str, torch.Tensor]] = {}
    owners = [parameter for group in now.optimizer.param_groups for parameter in group["params"]]
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        # In the order in memory that its parameter has: fused optimizers rely on it.
        alike = tensor.shape == owners[int(index)].shape
        slots.setdefault(int(index), {})[key] = torch.empty_like(owners[int(index)]).copy_(tensor) if alike else tensor
    now.optimizer.load_state_dict({"state": slots, "param_groups": now.optimizer.state_dict()["param_groups"]})
    now.scaler.load_state_dict(loaded.state["scaler"])
    now.best = parts["best"]
    at["micro_batch"] = min(at["micro_batch"], now.at.micro_batch)
    now.at = Position(**at)
    torch.set_num_threads(now.at.threads)
