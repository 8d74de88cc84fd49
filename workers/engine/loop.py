"""THE training loop: one function, read from top to bottom.

Everything random in step n (order, augmentation, dropout) is seeded from (seed, n). A checkpoint therefore needs no
state of random generators, and a resumed run goes through the very steps that an uninterrupted one would have.
"""

import math
import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from workers.contracts.errors import JobError
from workers.engine.progress import Reporter
from workers.engine.run import Run

# The tests set 0: after every step.
CHECKPOINT_SECONDS = float(os.environ.get("SLIPWAY_CHECKPOINT_SECONDS", "15"))
# Writing checkpoints may take this share of the time, however large they are.
_CHECKPOINT_SHARE = 0.05


@dataclass(frozen=True)
class Settings:
    """How to train. `learning_rate` is the peak: a share `warmup` of the steps climbs to it, then a cosine descends."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.0
    warmup: float = 0.05
    clip_norm: float = 1.0
    label_smoothing: float = 0.0
    class_weights: bool = True
    patience: int = 5


class Examples(ABC):
    """Rows of one split. `labels`: int64 [rows], -1 where the label is none that the model knows."""

    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """The model's input for some rows, first axis the batch, on the CPU."""

    def augment(self, inputs: torch.Tensor) -> torch.Tensor:
        """A training variant of a batch; draws from torch's global generator."""
        return inputs

    def batches(self, size: int, order: np.random.Generator) -> list[np.ndarray]:
        """All rows once, shuffled, in batches that differ by one row at most."""
        return list(np.array_split(order.permutation(len(self)), math.ceil(len(self) / size)))


@dataclass
class _Position:
    """Where training is; saved as JSON with each checkpoint."""

    step: int = 0
    best_epoch: int = -1
    best_accuracy: float = -1.0
    best_loss: float = math.inf
    micro_batch: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    stopped: bool = False


def fit(run: Run, model: nn.Module, train: Examples, validation: Examples, settings: Settings) -> None:
    """Train `model` in place and leave it with its best weights, on run.device, in eval mode.

    The best weights are those with the highest validation accuracy (then the lowest loss), or the last ones where there
    are no validation rows. Raises JobError `not_finite`, `out_of_memory`.
    """
    device = run.device
    model.to(device)
    optimizer = _optimizer(model, settings)
    weights = class_weights(train.labels, settings).to(device)
    steps_per_epoch = math.ceil(len(train) / settings.batch_size)
    steps = settings.epochs * steps_per_epoch
    best = _copy(model)
    at = _Position(micro_batch=settings.batch_size)
    at, best = _resume(run, model, optimizer, at, best)
    report = Reporter(run, steps, at.step)
    saved_at, save_seconds = time.monotonic(), 0.0
    batches: list[np.ndarray] = []

    while at.step < steps and not at.stopped:
        epoch, within = divmod(at.step, steps_per_epoch)
        if within == 0 or not batches:
            batches = train.batches(settings.batch_size, np.random.default_rng([run.seed, epoch]))
        rate = settings.learning_rate * schedule(at.step / steps, settings.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate

        rows = batches[within]
        model.train()
        loss = _step(run, model, optimizer, train, rows, weights, settings, at)
        at.step += 1
        at.loss_sum += loss * len(rows)
        at.loss_count += len(rows)
        report.step(at.step, len(rows))

        if report.due(at.step) or at.step % steps_per_epoch == 0:
            report.train(at.step, at.loss_sum / at.loss_count, rate)
            at.loss_sum, at.loss_count = 0.0, 0
        if at.step % steps_per_epoch == 0:
            best = _judge(run, model, validation, settings, at, best, epoch, report)
        pause = max(CHECKPOINT_SECONDS, save_seconds / _CHECKPOINT_SHARE) if CHECKPOINT_SECONDS > 0 else 0
        if time.monotonic() - saved_at > pause:
            save_seconds = _save(run, model, optimizer, at, best)
            saved_at = time.monotonic()

    # Evaluation and export may still be interrupted: what is trained stays trained.
    _save(run, model, optimizer, at, best)
    model.load_state_dict(best)
    model.eval()


def _step(
    run: Run,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Examples,
    rows: np.ndarray,
    weights: torch.Tensor,
    settings: Settings,
    at: _Position,
) -> float:
    """One update; returns the batch's mean loss. Out of memory: again, half the micro-batch, twice the accumulation."""
    while True:
        try:
            torch.manual_seed(_step_seed(run.seed, at.step))
            optimizer.zero_grad(set_to_none=True)
            labels = torch.from_numpy(train.labels[rows])
            total_weight = weights.cpu()[labels].sum().item()
            loss = 0.0
            # Parts of like size: a last one of a single example would upset batch normalisation.
            for part in np.array_split(np.arange(len(rows)), math.ceil(len(rows) / at.micro_batch)):
                inputs = train.augment(train.batch(rows[part])).to(run.device, non_blocking=True)
                with _autocast(run.device):
                    scores = model(inputs)
                part_loss = _loss(scores.float(), labels[part].to(run.device), weights, settings.label_smoothing)
                (part_loss / total_weight).backward()  # type: ignore[no-untyped-call]
                # The CPU waits for the GPU here, once per micro-batch: the price of never updating from a broken loss.
                loss += part_loss.item() / total_weight
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm))
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise not_finite(at.step, settings.learning_rate)
            optimizer.step()
            return loss
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: the traceback, which holds the tensors of the failed attempt, is gone.
        at.micro_batch = _halved(run, min(at.micro_batch, len(rows)), settings)


def _loss(scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Summed cross entropy. Scores [batch, labels, networks] come from several networks: their mean loss."""
    networks = scores.shape[2] if scores.ndim == 3 else 1
    if scores.ndim == 3:
        labels = labels.unsqueeze(1).expand(-1, networks)
    total = functional.cross_entropy(scores, labels, weight=weights, reduction="sum", label_smoothing=smoothing)
    return total / networks


def _halved(run: Run, micro_batch: int, settings: Settings) -> int:
    if micro_batch <= 1:
        repair = {"action": "retry", "parameters": {"batch_size": max(1, settings.batch_size // 2)}}
        raise JobError("out_of_memory", evidence="Even one example at a time does not fit.", repair=repair)
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    half = micro_batch // 2
    run.log(
        f"Memory is short: {half} examples at a time from now on, gradients added up. Results stay the same.", "warning"
    )
    return half


def _judge(
    run: Run,
    model: nn.Module,
    validation: Examples,
    settings: Settings,
    at: _Position,
    best: dict[str, torch.Tensor],
    epoch: int,
    report: Reporter,
) -> dict[str, torch.Tensor]:
    """End of an epoch: measure on validation, keep the best weights, decide whether to stop."""
    if not len(validation):
        return _copy(model)
    scores = predict(model, validation, run.device)
    known = validation.labels >= 0
    accuracy = float((scores.argmax(axis=1) == validation.labels).mean())
    right = scores[known, validation.labels[known]] if known.any() else np.ones(1)
    loss = float(-np.log(np.clip(right, 1e-12, 1)).mean())
    better = (accuracy, -loss) > (at.best_accuracy, -at.best_loss)
    if better:
        at.best_accuracy, at.best_loss, at.best_epoch = accuracy, loss, epoch
        best = _copy(model)
    report.validation(at.step, epoch, settings.epochs, accuracy, loss, better)
    if not run.judged(epoch, settings.epochs, accuracy):
        at.stopped = True
    elif epoch - at.best_epoch >= settings.patience and epoch + 1 < settings.epochs:
        at.stopped = True
        run.log(f"No improvement for {settings.patience} epochs: training ends early, with the best weights.")
    return best


@torch.no_grad()
def predict(model: nn.Module, examples: Examples, device: torch.device, batch_size: int = 256) -> np.ndarray:
    """Probabilities, float32 [rows, labels], by the PyTorch model in full precision; leaves it in eval mode."""
    model.eval()
    parts = [np.zeros((0, 0), dtype=np.float32)]
    for start in range(0, len(examples), batch_size):
        rows = np.arange(start, min(start + batch_size, len(examples)))
        scores = torch.softmax(model(examples.batch(rows).to(device)).float(), dim=1)
        parts.append(scores.cpu().numpy())
    return np.concatenate(parts[1:]) if len(parts) > 1 else parts[0]


def schedule(position: float, warmup: float) -> float:
    """Share of the peak learning rate at a position in [0, 1]: a line up, then half a cosine down to zero."""
    if position < warmup:
        return (position + 0.02) / (warmup + 0.02)
    return 0.5 * (1 + math.cos(math.pi * (position - warmup) / (1 - warmup)))


def class_weights(labels: np.ndarray, settings: Settings) -> torch.Tensor:
    """float32 [labels]: the fourth root of how much rarer a class is than the average, mean 1 over the examples.

    Not the full inverse, which gives a handful of rare examples the whole say: rare classes are heard without drowning
    the common ones. At most 10.
    """
    counts = np.bincount(labels)
    if not settings.class_weights:
        return torch.ones(len(counts))
    raw = (len(labels) / (len(counts) * np.maximum(counts, 1))) ** 0.25
    weights = np.minimum(raw / (raw * counts).sum() * len(labels), 10.0)
    return torch.tensor(weights, dtype=torch.float32)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the GPU or (PyTorch has no class for it) on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def not_finite(step: int, learning_rate: float) -> JobError:
    """The loss or a gradient is no number: stop before the weights are spoilt."""
    lower = float(f"{learning_rate / 10:.3g}")
    return JobError(
        "not_finite",
        evidence=f"At step {step + 1} the loss or its gradient was no finite number. No update was made from it.",
        hint=f"Lower the learning rate, for example to {lower:g}.",
        repair={"action": "retry", "parameters": {"learning_rate": lower}},
    )


def _step_seed(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step * 7_919 + 17) % (2**63 - 1)


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    # Biases, norms and single weights are not drawn towards zero.
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    free = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def _autocast(device: torch.device) -> torch.autocast:
    # bfloat16 has the range of float32: no loss scaling to save and restore. GPUs without it train in float32.
    enabled = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def _copy(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _save(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, at: _Position, best: dict[str, torch.Tensor]
) -> float:
    """Write a checkpoint; returns the seconds it took."""
    started = time.monotonic()
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, slot in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slot.items() if value is not None}
    state = {**vars(at), "best_loss": None if math.isinf(at.best_loss) else at.best_loss}
    run.checkpoints.save(at.step, tensors, state)
    return time.monotonic() - started


def _resume(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, at: _Position, best: dict[str, torch.Tensor]
) -> tuple[_Position, dict[str, torch.Tensor]]:
    """The position and best weights of the last checkpoint, with model and optimizer set to it; else what was given."""
    fresh = _copy(model)
    try:
        loaded = run.checkpoints.load()
        if loaded is None:
            return at, best
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for name, tensor in loaded.tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        model.load_state_dict(parts["model"])
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            slots.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        state = {
            **loaded.state,
            "best_loss": math.inf if loaded.state["best_loss"] is None else loaded.state["best_loss"],
        }
        at = _Position(**state)
    except (JobError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = error.evidence if isinstance(error, JobError) else str(error)[:200]
        run.log(f"The checkpoint cannot be used, training starts from the beginning. ({reason})", "warning")
        model.load_state_dict(fresh)
        return at, best
    run.log(f"Resumed at step {at.step}.")
    return at, parts["best"]
