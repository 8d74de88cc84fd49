"""THE training loop: one function, read from top to bottom.

Everything random in step n (order, augmentation, dropout) is seeded from (seed, n). A checkpoint therefore needs no
state of random generators, and a resumed run goes through the very steps that an uninterrupted one would have.
"""

import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.contracts.errors import JobError
from workers.engine import threads
from workers.engine.checkpoints import Loaded
from workers.engine.devices import MICRO_BATCH
from workers.engine.examples import Examples, Feed
from workers.engine.links import probabilities, summed_loss
from workers.engine.optimizing import Average, Group, default_groups, make_optimizer, set_rate, shrink
from workers.engine.progress import Reporter
from workers.engine.run import Run
from workers.engine.settings import Settings
from workers.engine.several_labels import mean_average_precision, several_losses
from workers.engine.training import Position, Training, copied, resume, save, snapshot

# The tests set 0: after every step.
CHECKPOINT_SECONDS = float(os.environ.get("SLIPWAY_CHECKPOINT_SECONDS", "15"))
# Writing checkpoints may take this share of the time, however large they are.
_CHECKPOINT_SHARE = 0.05
# float16: where even this scale of the loss overflows, no smaller one will help.
_LEAST_SCALE = 2.0**-8
_ENDS = ("", "patience", "search", "time")


class _NotFinite(Exception):
    """The loss or a gradient is no number. The weights are those before the step."""


def fit(
    run: Run,
    model: nn.Module,
    train: Examples,
    validation: Examples,
    settings: Settings,
    groups: Sequence[Group] | None = None,
) -> None:
    """Train `model` in place and leave it with its best weights, on run.device, in eval mode.

    The best weights are those (or that average of them) with the highest validation score, then the lowest loss; the
    last ones where there are no validation rows. `groups` gives parameters their own share of the learning rate and
    weight decay; parameters in no group stay as they are. Raises JobError `not_finite`, `out_of_memory`.
    """
    prepared_in = run.seconds_here()
    with _determinism(settings.deterministic), threads.kept(), closing(_feed(run, train, settings)) as feed:
        now = _begin(run, model, feed, settings, groups)
        fresh = snapshot(now)
        resume(now, fresh)
        at = now.at
        report = Reporter(run, feed.steps, at.step)
        saved_at, save_seconds = time.monotonic(), 0.0
        reserve = _reserve(run, prepared_in, 0.0)

        while at.step < feed.steps and not at.ended:
            rate = set_rate(now.optimizer, settings, at.step / feed.steps, at.rate_scale)
            try:
                loss, late, rows = _step(now, feed, reserve)
            except _NotFinite:
                at = _roll_back(now, fresh)
                report = Reporter(run, feed.steps, at.step)
                continue
            at.step += 1
            if now.average:
                now.average.update(at.step)
            at.loss_sum += loss * rows
            at.loss_count += rows
            report.step(at.step, rows)

            whole_epoch = at.step % feed.steps_per_epoch == 0
            if report.due(at.step) or whole_epoch:
                report.train(at.step, at.loss_sum / at.loss_count, rate)
                at.loss_sum, at.loss_count = 0.0, 0
            if whole_epoch or late:
                began = time.monotonic()
                _judge(now, validation, math.ceil(at.step / feed.steps_per_epoch) - 1, report)
                reserve = _reserve(run, prepared_in, time.monotonic() - began)
            if late and at.step < feed.steps:
                at.ended = "time"
            pause = max(CHECKPOINT_SECONDS, save_seconds / _CHECKPOINT_SHARE) if CHECKPOINT_SECONDS > 0 else 0
            if time.monotonic() - saved_at > pause:
                save_seconds = save(now)
                saved_at = time.monotonic()

        # Evaluation and export may still be interrupted: what is trained stays trained.
        save(now, over=True)
        if at.ended == "time":
            run.note(_ended_by_time(at.step, feed.steps))
    model.load_state_dict(now.best)
    model.eval()


def _ended_by_time(step: int, steps: int) -> str:
    return f"The time limit came near: training ended after {step:,} of {steps:,} steps, with the best weights so far."


def _feed(run: Run, train: Examples, settings: Settings) -> Feed:
    world = run.world
    if len(train) // math.ceil(len(train) / settings.batch_size) < world.size:
        raise JobError(
            "parameters_invalid",
            evidence=f"A batch has fewer examples than there are devices ({world.size}).",
            repair={"action": "retry", "parameters": {"devices": 1}},
        )
    share, device = (world.rank, world.size), run.device
    # On the CPU itself a thread beside the computing ones wins no time, and each takes from the other.
    return Feed(train, settings, run.seed, share=share, ahead=device.type == "cuda", pinned=device.type == "cuda")


def _reserve(run: Run, prepared_in: float, judged_in: float) -> float:
    """Seconds of the time limit to keep for evaluation, export and certificate: they read all rows once more, as the
    preparation did, and answer the validation and test rows a few times."""
    return min(0.4 * run.spec.time_limit_s, 5 + prepared_in + 4 * judged_in)


def _begin(run: Run, model: nn.Module, feed: Feed, settings: Settings, groups: Sequence[Group] | None) -> Training:
    """Everything at its start."""
    device = run.device
    # Only filters of convolutions have such a format; GPUs and CPUs are faster with it.
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = run.world.prepare(model, device)
    optimizer = make_optimizer(default_groups(model, settings.weight_decay) if groups is None else groups, settings)
    average = Average(model, copy.deepcopy(model), settings.ema * feed.steps) if settings.ema else None
    network = run.world.wrap(model, device)
    called: Callable[[torch.Tensor], torch.Tensor] = network
    if settings.compiles(device, feed.steps):
        run.log("The network is compiled, which takes up to a minute.")
        called = torch.compile(network)
    dtype = settings.dtype(device)
    if dtype != torch.float32:
        run.log(f"Training computes in {str(dtype).removeprefix('torch.')}; what is judged and exported is float32.")
    return Training(
        run=run,
        settings=settings,
        model=model,
        network=network,
        called=called,
        optimizer=optimizer,
        moved=[parameter for group in optimizer.param_groups for parameter in group["params"]],
        precision=_precision(dtype, device),
        scaler=torch.amp.GradScaler(device.type, enabled=dtype == torch.float16),
        average=average,
        weights=feed.weights.to(device),
        multi_label=feed.multi_label,
        at=Position(micro_batch=_micro_batch(run, feed, settings), threads=_threads(run, settings)),
        best=copied(model),
    )


def _precision(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def _threads(run: Run, settings: Settings) -> int:
    all_threads = torch.get_num_threads()
    if run.device.type != "cpu" or run.world.size > 1 or settings.deterministic:
        return all_threads
    chosen = threads.choose()
    if chosen < all_threads:
        run.log(f"Other work keeps this machine busy: training computes with {chosen} of {all_threads} threads.")
    return chosen


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    """Only operations that give the same result each time; others raise RuntimeError."""
    if wanted:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        if wanted:
            torch.use_deterministic_algorithms(False)


def _micro_batch(run: Run, feed: Feed, settings: Settings) -> int:
    share = math.ceil(feed.largest / run.world.size)
    return min(share, settings.micro_batch or share, int(os.environ.get(MICRO_BATCH, share)))


def _step(now: Training, feed: Feed, reserve: float) -> tuple[float, bool, int]:
    """One update: the batch's mean loss, whether only the reserve is left of the time limit, and the batch's rows.

    Out of memory: again, half the micro-batch, twice the accumulation.
    """
    device, at, world = now.run.device, now.at, now.run.world
    if not now.model.training:  # since it was judged
        now.network.train()
    while True:
        try:
            for parameter in now.moved:
                parameter.grad = None
            batch = feed.batch(at.step, at.micro_batch)
            # The processes' gradients are averaged, and are meant to be added up.
            weights = now.weights * (world.size / batch.weight)
            losses = []
            for index, part in enumerate(batch.parts):
                inputs, targets = (tensor.to(device, non_blocking=True) for tensor in part[:2])
                _seed(device, part.seed)
                with world.quiet(now.network) if index + 1 < len(batch.parts) else nullcontext():
                    with now.precision:
                        scores = now.called(inputs)
                    part_loss = summed_loss(
                        scores.float(), targets, weights, now.settings.label_smoothing, now.multi_label
                    )
                    now.scaler.scale(part_loss).backward()  # type: ignore[no-untyped-call]
                losses.append(part_loss.detach())
            late = world.rank == 0 and now.run.seconds_left() < reserve
            return *_update(now, sum(losses[1:], losses[0]), late), batch.rows
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if "deterministic implementation" in str(error):
                raise _no_deterministic(error) from None
            if not is_out_of_memory(error):
                raise
        # Outside the handler: the traceback, which holds the tensors of the failed attempt, is gone.
        at.micro_batch = _halved(now, at.micro_batch)


def _seed(device: torch.device, seed: int) -> None:
    # Not torch.manual_seed: where CUDA is not in use, that keeps a stack trace of each call.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _update(now: Training, loss: torch.Tensor, late: bool) -> tuple[float, bool]:
    """Move the weights by the gradients that were added up; returns the whole batch's loss, and whether any process is
    late. Raises _NotFinite before that."""
    now.scaler.unscale_(now.optimizer)
    gradients = [parameter.grad for parameter in now.moved if parameter.grad is not None]
    world, sums = now.run.world, [loss, loss.new_full((), late)]
    if world.size > 1:
        sums = list(world.sum(torch.stack(sums) / world.size))
    # The CPU waits for the GPU here, once per step: the price of never updating from a broken loss.
    mean, lateness, *lengths = torch.stack([*sums, *torch._foreach_norm(gradients)]).tolist()
    length = math.hypot(*lengths)
    # A gradient that overflows float16 is no broken one: the scaler leaves this step out and scales less.
    overflow = now.scaler.is_enabled() and now.scaler.get_scale() > _LEAST_SCALE
    if not math.isfinite(mean) or not (math.isfinite(length) or overflow):
        raise _NotFinite
    if 0 < now.settings.clip_norm < length:
        torch._foreach_mul_(gradients, now.settings.clip_norm / length)
    now.scaler.step(now.optimizer)
    now.scaler.update()
    shrink(now.optimizer, now.settings.l1)
    return mean, lateness > 0


def _halved(now: Training, micro_batch: int) -> int:
    """Half as many examples at a time. Raises JobError where one does not fit, or others would wait in vain."""
    run = now.run
    if micro_batch <= 1:
        repair = {"action": "retry", "parameters": {"batch_size": max(1, now.settings.batch_size // 2)}}
        raise JobError("out_of_memory", evidence="Even one example at a time does not fit.", repair=repair)
    half = micro_batch // 2
    if run.world.size > 1:
        # The other processes wait in the middle of this step: all start again from the checkpoint (see `devices`).
        repair = {"action": "retry", "parameters": {"micro_batch": half}}
        raise JobError("out_of_memory", evidence=f"{micro_batch} examples at a time.", repair=repair)
    if run.device.type == "cuda":
        torch.cuda.empty_cache()
    run.log(
        f"Memory is short: {half} examples at a time from now on, gradients added up. Results stay the same.", "warning"
    )
    return half


def _roll_back(now: Training, fresh: Loaded) -> Position:
    """Go back to the last checkpoint, or the start, at half the learning rate. Raises JobError the second time."""
    failed = now.at
    if failed.rate_scale < 1:
        raise not_finite(failed.step, now.settings.learning_rate)
    now.run.log(
        f"At step {failed.step + 1} the loss or its gradient was no finite number. No update was made from it.",
        "warning",
    )
    resume(now, fresh)
    now.run.world.agree([0.0])  # all have read it
    now.at.rate_scale = 0.5
    now.run.log(f"Training goes on from step {now.at.step} at half the learning rate.", "warning")
    # Else a later attempt would go back to a checkpoint that knows nothing of this.
    save(now)
    return now.at


def _judge(now: Training, validation: Examples, epoch: int, report: Reporter) -> None:
    """End of an epoch: measure on validation, keep the best weights, decide whether to stop. Rank 0 does it for all."""
    candidates = [now.model, *([now.average.model] if now.average else [])]
    at, settings, run = now.at, now.settings, now.run
    if not len(validation):
        now.best = copied(candidates[-1])
        return
    if run.world.rank == 0:
        measured = [(*_measure(model, validation, run.device, settings), model) for model in candidates]
        score, loss, model = max(measured, key=lambda found: (found[0], -found[1]))
        better = (score, -loss) > (at.best_score, -at.best_loss)
        if better:
            at.best_score, at.best_loss = score, loss
            now.best = copied(model)
        # On few rows the score goes up and down by chance while the loss still falls.
        if better or loss < at.lowest_loss:
            at.gained_epoch = epoch
        at.lowest_loss = min(at.lowest_loss, loss)
        report.validation(at.step, epoch, settings.epochs, score, loss, better, validation.multi_label)
        if not run.judged(epoch, settings.epochs, score):
            at.ended = "search"
        elif epoch - at.gained_epoch >= settings.patience and epoch + 1 < settings.epochs:
            at.ended = "patience"
            run.log(f"No improvement for {settings.patience} epochs: training ends early, with the best weights.")
    at.ended = _ENDS[int(run.world.agree([_ENDS.index(at.ended)])[0])]


def _measure(model: nn.Module, validation: Examples, device: torch.device, settings: Settings) -> tuple[float, float]:
    """The score, which is the accuracy over all rows, and the mean log loss over those whose label the model knows; of
    several labels the mean average precision, which needs no threshold, and the mean log loss of their sum."""
    scores, truth = judged(model, validation, device, settings), validation.labels
    losses = row_losses(scores, truth)
    loss = float(losses.mean()) if len(losses) else 0.0
    if validation.multi_label:
        return mean_average_precision(truth, scores), loss
    return float((scores.argmax(axis=1) == truth).mean()), loss


def judged(model: nn.Module, examples: Examples, device: torch.device, settings: Settings) -> np.ndarray:
    """Probabilities, float32 [rows, labels], computed as training is: weights are chosen by this, nothing is reported
    from it but the curve."""
    with _precision(settings.dtype(device), device):
        return predict(model, examples, device)


def row_losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """float [rows]: the log loss on each row whose label the model knows; of several labels the sum of theirs."""
    if labels.ndim == 2:
        return several_losses(labels, scores)
    known = labels >= 0
    losses: np.ndarray = -np.log(np.clip(scores[known, labels[known]], 1e-12, 1))
    return losses


@torch.no_grad()
def predict(model: nn.Module, examples: Examples, device: torch.device, batch_size: int = 256) -> np.ndarray:
    """Probabilities, float32 [rows, labels], by the PyTorch model in full precision; leaves it in eval mode."""
    model.eval()
    parts = [np.zeros((0, 0), dtype=np.float32)]
    for start in range(0, len(examples), batch_size):
        rows = np.arange(start, min(start + batch_size, len(examples)))
        scores = probabilities(model(examples.batch(rows).to(device)).float(), examples.multi_label)
        parts.append(scores.cpu().numpy())
    return np.concatenate(parts[1:]) if len(parts) > 1 else parts[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the GPU or (PyTorch has no class for it) on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def not_finite(step: int, learning_rate: float) -> JobError:
    """The loss or a gradient is no number: stop before the weights are spoilt."""
    lower = float(f"{learning_rate / 10:.3g}")
    return JobError(
        "not_finite",
        evidence=f"At step {step + 1} the loss or its gradient was no finite number, even at half the learning rate. "
        "No update was made from it.",
        hint=f"Lower the learning rate, for example to {lower:g}.",
        repair={"action": "retry", "parameters": {"learning_rate": lower}},
    )


def _no_deterministic(error: Exception) -> JobError:
    return JobError(
        "parameters_invalid",
        evidence=str(error).partition(".")[0][:400],
        hint="Switch the deterministic mode off.",
        repair={"action": "retry", "parameters": {"deterministic": False}},
    )
