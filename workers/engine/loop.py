"""THE training loop: any network that gives one score per class, on any batches, resumable to the step.

Every step draws its random numbers from a seed of its own (seed, step). So a resumed training continues exactly as the
uninterrupted one would have, and the same seed on the same machine gives the same weights.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.contracts.errors import JobError
from workers.engine.run import Run

CHECKPOINT_EVERY_S = 15.0
_SPEAK_EVERY_S = 0.5
# The share of the whole job that the loop is; testing and exporting are the rest.
_SHARE = 0.88
_MAX_SEED = 2**63 - 1


class Examples(Protocol):
    """Labelled examples of one split."""

    labels: Tensor
    """int64 [examples]"""

    def batches(self, size: int, random: np.random.Generator) -> list[np.ndarray]:
        """One epoch: index arrays that cover every example once."""

    def inputs(self, indices: np.ndarray, *, training: bool) -> Tensor:
        """The network's input for some examples; augmented, by torch's global generator, in training."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. `schedule` is the learning rate's course after the warm-up; `warm_up` a share of all steps."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.01
    warm_up: float = 0.05
    label_smoothing: float = 0.0
    class_weights: bool = True
    clip_norm: float | None = 1.0
    patience: int = 10


@dataclass(slots=True)
class _State:
    """Where training is: what a checkpoint holds beside tensors."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    micro_batch: int = 0
    best_epoch: int = -1
    best_accuracy: float = -1.0
    best_loss: float = math.inf


def fit(run: Run, network: nn.Module, train: Examples, validation: Examples | None, plan: Plan) -> None:
    """Train `network` in place; it ends with the weights that did best on validation (the last ones without any).

    Raises JobError `not_finite` before an update with a loss that is no number, `out_of_memory` when not even one
    example fits.
    """
    device = run.device
    network.to(device)
    targets = _Targets(train.labels, plan, device)
    optimizer = _optimizer(network, plan)
    # Half precision on GPUs: bfloat16 where it is native; float16 needs its gradients scaled.
    kind = None if device.type != "cuda" else torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=kind == torch.float16)
    best = _copy(network)
    state = _State(micro_batch=plan.batch_size)
    _resume(run, network, optimizer, best, state)
    total = plan.epochs * len(train.batches(plan.batch_size, np.random.default_rng(0)))
    speaker = _Speaker(run, total, state.step)
    saved = time.monotonic()

    while state.epoch < plan.epochs:
        batches = train.batches(plan.batch_size, np.random.default_rng((run.seed, state.epoch)))
        network.train()
        while state.batch < len(batches):
            indices = batches[state.batch]
            rate = plan.learning_rate * schedule(state.step / total, plan.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(hash((run.seed, state.step)) % _MAX_SEED)
            optimizer.zero_grad(set_to_none=True)
            with _out_of_memory_halves(run, state):
                loss = _backward(network, train, indices, targets, plan, state.micro_batch, scaler, kind)
                if not math.isfinite(loss):
                    raise _not_finite(state.step, rate, plan)
                if plan.clip_norm:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(network.parameters(), plan.clip_norm)
                scaler.step(optimizer)
                scaler.update()
                state.step += 1
                state.batch += 1
                speaker.step(state, loss, rate, len(indices))
            if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                _save(run, network, optimizer, best, state)
                saved = time.monotonic()
        state.epoch, state.batch = state.epoch + 1, 0
        if _judge(run, network, validation, plan, state):
            best = _copy(network)
        if validation is not None and state.epoch - state.best_epoch >= plan.patience:
            run.log(f"No improvement in {plan.patience} epochs: training ends after epoch {state.epoch}.")
            break
    network.load_state_dict(best)
    network.eval()


class _Targets:
    """Labels and class weights on the device."""

    def __init__(self, labels: Tensor, plan: Plan, device: torch.device) -> None:
        self.device = device
        self.labels = labels.to(device)
        self.weights = class_weights(labels).to(device) if plan.class_weights else None


def _backward(
    network: nn.Module,
    train: Examples,
    indices: np.ndarray,
    targets: _Targets,
    plan: Plan,
    micro_batch: int,
    scaler: torch.amp.GradScaler,
    kind: torch.dtype | None,
) -> float:
    """Gradients of the mean loss over a batch, `micro_batch` examples at a time; the loss."""
    loss = 0.0
    for part in np.array_split(indices, math.ceil(len(indices) / micro_batch)):
        with torch.autocast(targets.device.type, dtype=kind, enabled=kind is not None):
            scores = network(train.inputs(part, training=True).to(targets.device, non_blocking=True))
        losses = functional.cross_entropy(
            scores.float(),
            targets.labels[torch.from_numpy(part).to(targets.device)],
            weight=targets.weights,
            label_smoothing=plan.label_smoothing,
            reduction="sum",
        )
        share = losses / len(indices)
        scaler.scale(share).backward()
        # Here the CPU waits for the GPU: a loss that is no number must not reach the weights.
        loss += float(share.detach())
    return loss


def schedule(done: float, warm_up: float) -> float:
    """The learning rate as a share of its peak: linear up to `warm_up`, then half a cosine down to 0."""
    if done < warm_up:
        return max(done / warm_up, 0.02)
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


def class_weights(labels: Tensor) -> Tensor:
    """One weight per class: the square root of inverse frequency, 1 on average over the examples.

    The full inverse would let a class of three examples shake the whole network.
    """
    counts = torch.bincount(labels).clamp(min=1).float()
    weights = counts.rsqrt()
    return weights * (len(labels) / (weights * counts).sum())


def predict_scores(network: nn.Module, examples: Examples, device: torch.device, size: int = 256) -> np.ndarray:
    """Probabilities in full precision, float32 [examples, classes], in the order of the examples."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(examples.labels), size):
            indices = np.arange(start, min(start + size, len(examples.labels)))
            scores = network(examples.inputs(indices, training=False).to(device))
            parts.append(scores.float().softmax(dim=1).cpu().numpy())
    return np.concatenate(parts)


def _optimizer(network: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """Matrices and filters decay; biases and the scales of normalisation do not."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": plan.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if plan.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)


def _judge(run: Run, network: nn.Module, validation: Examples | None, plan: Plan, state: _State) -> bool:
    """Measure an epoch on validation; whether it is the best so far."""
    if validation is None:
        return True
    scores = predict_scores(network, validation, run.device)
    labels = validation.labels.numpy()
    accuracy = float((scores.argmax(axis=1) == labels).mean())
    loss = float(-np.log(np.clip(scores[np.arange(len(labels)), labels], 1e-12, None)).mean())
    run.metric(state.step, {"validation/accuracy": accuracy, "validation/loss": loss})
    run.log(f"Epoch {state.epoch} of {plan.epochs}: {accuracy:.1%} of the validation examples are right.")
    if (accuracy, -loss) <= (state.best_accuracy, -state.best_loss):
        return False
    state.best_accuracy, state.best_loss, state.best_epoch = accuracy, loss, state.epoch
    return True


def _not_finite(step: int, rate: float, plan: Plan) -> JobError:
    return JobError(
        "not_finite",
        evidence=f"At step {step}, with learning rate {rate:.3g}. No weight was changed by it.",
        repair={"action": "retry", "parameters": {"learning_rate": plan.learning_rate / 4}},
    )


@contextmanager
def _out_of_memory_halves(run: Run, state: _State) -> Iterator[None]:
    """Swallow one failure for want of memory: the step is done again in smaller parts, with the same result."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        wanting = isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate" in str(error)
        if not wanting:
            raise
        if state.micro_batch == 1:
            raise JobError("out_of_memory", evidence="Not even one example at a time fits into memory.") from None
        state.micro_batch = math.ceil(state.micro_batch / 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        run.log(f"Out of memory: going on with {state.micro_batch} examples at a time, gradients added up.", "warning")


class _Speaker:
    """Tells progress, time left and the training loss, often enough and not too often."""

    def __init__(self, run: Run, total: int, step: int) -> None:
        self._run, self._total = run, total
        self._first_step, self._started = step, time.monotonic()
        self._spoke = 0.0
        self._losses: list[float] = []
        self._examples = 0
        self._measure_every = max(1, total // 400)

    def step(self, state: _State, loss: float, rate: float, examples: int) -> None:
        """After each update."""
        now = time.monotonic()
        self._losses.append(loss)
        self._examples += examples
        if state.step % self._measure_every == 0:
            values = {"train/loss": sum(self._losses) / len(self._losses), "train/learning_rate": rate}
            seconds = max(now - self._started, 1e-6)
            self._run.metric(state.step, {**values, "train/examples_per_second": self._examples / seconds})
            self._losses.clear()
        if now - self._spoke > _SPEAK_EVERY_S:
            self._spoke = now
            each = (now - self._started) / (state.step - self._first_step)
            self._run.progress(
                _SHARE * state.step / self._total,
                f"Training, epoch {state.epoch + 1}",
                eta_seconds=each * (self._total - state.step) / _SHARE,
                step=state.step,
                steps=self._total,
            )


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _save(
    run: Run, network: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, Tensor], state: _State
) -> None:
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(v) for name, v in values.items() if v is not None}
    loss = None if math.isinf(state.best_loss) else state.best_loss
    facts = {name: getattr(state, name) for name in _State.__slots__}
    run.checkpoints.save(state.step, tensors, {**facts, "best_loss": loss})


def _resume(
    run: Run, network: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, Tensor], state: _State
) -> None:
    """Bring everything to where the newest checkpoint was; a damaged one means to start afresh, and is said."""
    try:
        loaded = run.checkpoints.load()
    except JobError as error:
        run.log(f"{error.message} Training starts again. ({error.evidence})", "warning")
        return
    if loaded is None:
        return
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
    for name, tensor in loaded.tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor.to(run.device)
    network.load_state_dict(parts["network"])
    best.update(parts["best"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    for name, value in loaded.state.items():
        setattr(state, name, math.inf if value is None else value)
    run.log(f"Going on from step {state.step:,}.")
