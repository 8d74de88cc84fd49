"""How weights move: groups of parameters, optimizers, the learning rate's course, L1, the average of the weights."""

import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from workers.engine.settings import Settings

_MOMENTUM = 0.9
# Of one-cycle training: momentum while the rate is low and while it is high, and the first rate's share of the peak.
_MOMENTA = (0.95, 0.85)
_FIRST_SHARE = 1 / 25
# Of averaged weights: how many points of the course an average sees at least, and the most steps between two.
_LEAST_POINTS = 12
_MOST_BETWEEN = 8


class Group(NamedTuple):
    """Parameters that share a multiplier of the learning rate and a weight decay."""

    parameters: list[nn.Parameter]
    rate: float = 1.0
    weight_decay: float = 0.0


def default_groups(model: nn.Module, weight_decay: float) -> list[Group]:
    """Matrices and filters decay; biases, norms and single weights are not drawn towards zero."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        Group([parameter for parameter in parameters if parameter.ndim > 1], 1.0, weight_decay),
        Group([parameter for parameter in parameters if parameter.ndim <= 1], 1.0, 0.0),
    ]


def _bare(kind: type[torch.optim.Optimizer]) -> Any:
    """An optimizer class whose methods do not import PyTorch's compiler, which would take three seconds, to switch it
    off around themselves."""
    plain = {
        name: inspect.unwrap(getattr(kind, name))
        for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict", "step")
    }
    return type(kind.__name__, (kind,), plain | {"step": torch.no_grad()(plain["step"])})


_SGD = _bare(torch.optim.SGD)


class _AdamW(_bare(torch.optim.AdamW)):  # type: ignore[misc]
    """PyTorch's fused AdamW, without what its `step` does around the update: of a small network that takes as long as
    the update itself. The state, and every weight, is the same."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move the parameters that have a gradient."""
        # Of a gradient scaler: set by it before this is called.
        found_inf = getattr(self, "found_inf", None)
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            slots = [self.state[parameter] or self._begin(parameter) for parameter in moved]
            steps = [slot["step"] for slot in slots]
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                moved,
                [parameter.grad for parameter in moved],
                [slot["exp_avg"] for slot in slots],
                [slot["exp_avg_sq"] for slot in slots],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                grad_scale=getattr(self, "grad_scale", None),
                found_inf=found_inf,
            )
            if found_inf is not None:
                torch._foreach_sub_(steps, [found_inf] * len(steps))

    # Else PyTorch wraps each step for its profiler.
    step.hooked = True  # type: ignore[attr-defined]

    def _begin(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        self.state[parameter] |= {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        slot: dict[str, torch.Tensor] = self.state[parameter]
        return slot


def make_optimizer(groups: Sequence[Group], settings: Settings) -> torch.optim.Optimizer:
    """The optimizer of the settings over some groups of parameters; `set_rate` is to be called before each step.

    AdamW's decay is decoupled (Loshchilov and Hutter 2019); SGD's is the L2 term that its published values mean.
    """
    given: list[dict[str, Any]] = [
        {"params": list(group.parameters), "rate": group.rate, "weight_decay": group.weight_decay}
        for group in groups
        if group.parameters
    ]
    options: dict[str, Any] = {"lr": settings.learning_rate}
    if settings.optimizer == "sgd":
        made: torch.optim.Optimizer = _SGD(given, **options, momentum=_MOMENTUM, nesterov=True, fused=True)
        for parameter in (parameter for group in given for parameter in group["params"]):
            # PyTorch's own beginning is no zero but whatever memory holds, where float16 overflows in the first step.
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)
    else:
        made = _AdamW(given, **options, fused=True)
    return made


def set_rate(optimizer: torch.optim.Optimizer, settings: Settings, position: float, scale: float) -> float:
    """Set learning rates (and momentum) for a position in [0, 1] of the training; returns the rate of whole groups."""
    share = schedule(position, settings)
    rate = settings.learning_rate * scale * share
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]
        if settings.schedule == "one-cycle":
            momentum = _MOMENTA[0] + (_MOMENTA[1] - _MOMENTA[0]) * share
            group.update({"momentum": momentum} if "momentum" in group else {"betas": (momentum, group["betas"][1])})
    return rate


def schedule(position: float, settings: Settings) -> float:
    """Share of the peak learning rate at a position in [0, 1]: a line up, then half a cosine down to zero.

    One cycle (Smith 2018) starts at a 25th of the peak.
    """
    warmup = settings.warmup
    if position < warmup:
        if settings.schedule == "one-cycle":
            return _FIRST_SHARE + (1 - _FIRST_SHARE) * position / warmup
        return (position + 0.02) / (warmup + 0.02)
    return 0.5 * (1 + math.cos(math.pi * (position - warmup) / (1 - warmup)))


@torch.no_grad()
def shrink(optimizer: torch.optim.Optimizer, l1: float) -> None:
    """L1: move weights towards zero by rate × l1 and stop there (the proximal step of ISTA)."""
    if l1 == 0:
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.ndim > 1:
                parameter.copy_(nn.functional.softshrink(parameter, group["lr"] * l1))


class Average:
    """A moving average of a model's weights and statistics, kept in a model of its own (`model`).

    `steps`: over how many it looks back; over fewer at first, so that the random start is soon forgotten. It takes in
    every step where that are few, else every so many that it still sees a good dozen of points that far back.
    """

    def __init__(self, model: nn.Module, twin: nn.Module, steps: float) -> None:
        self.model = twin
        self._every = max(1, min(_MOST_BETWEEN, int(steps / _LEAST_POINTS)))
        self._decay = 1 - min(1.0, self._every / max(1.0, steps))
        self._pairs = list(_float_pairs(twin, model))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the update of step 1, 2, …"""
        if step % self._every:
            return
        updates = step // self._every
        decay = min(self._decay, updates / (10.0 + updates))
        torch._foreach_lerp_([own for own, _ in self._pairs], [other for _, other in self._pairs], 1 - decay)


def _float_pairs(twin: nn.Module, model: nn.Module) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for own, other in zip(twin.state_dict().values(), model.state_dict().values(), strict=True):
        if own.is_floating_point():
            yield own, other
