"""The training loop: deterministic, resumable to the step, calm when memory or numbers fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.engine.points import SETTINGS, Points, events, network, same, start_run, train
from workers.contracts.errors import JobError
from workers.engine import loop
from workers.engine.loop import fit
from workers.engine.optimizing import schedule
from workers.engine.settings import Settings


def test_two_clouds_are_told_apart(tmp_path: Path) -> None:
    train(tmp_path)
    accuracies = [
        e.values["validation/accuracy"] for e in events(tmp_path) if e.type == "metric" and len(e.values) == 2
    ]
    assert max(accuracies) >= 0.95


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first = train(tmp_path / "a")
    assert same(first, train(tmp_path / "b"))
    assert not same(first, train(tmp_path / "c", seed=2))


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches SIGKILL."""


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw"},
        {"optimizer": "sgd", "schedule": "one-cycle", "class_balance": "sampling", "l1": 0.001, "micro_batch": 4},
        {"optimizer": "adamw", "ema": 0.2, "precision": "bf16"},
        {"optimizer": "sgd", "ema": 0.2, "precision": "fp16"},
    ],
    ids=["adamw", "sgd", "ema", "fp16"],
)
@pytest.mark.parametrize("step", [3, 8, 20])
def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], step: int
) -> None:
    settings = Settings(epochs=4, batch_size=8, learning_rate=0.02, **options)
    whole = train(tmp_path / "whole", settings)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(loop, "_CHECKPOINT_SHARE", 1e9)
    save: Callable[..., float] = loop.save

    def save_and_die(now: Any, over: bool = False) -> float:
        if now.at.step == step:
            save(now)
            raise Killed
        return 0.0

    monkeypatch.setattr(loop, "save", save_and_die)
    with pytest.raises(Killed):
        train(tmp_path / "parts", settings)
    monkeypatch.setattr(loop, "save", save)
    assert same(whole, train(tmp_path / "parts", settings))


def test_after_its_last_step_a_training_is_kept_as_its_best_weights_alone(tmp_path: Path) -> None:
    settings = Settings(epochs=4, batch_size=8, learning_rate=0.02, optimizer="sgd", ema=0.2)
    whole = train(tmp_path, settings)
    saved = safetensors.torch.load_file(max((tmp_path / "checkpoints").glob("*.safetensors")))
    assert all(name.startswith("best.") for name in saved)
    assert same(whole, train(tmp_path, settings))


def test_a_damaged_checkpoint_means_to_start_again_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(loop, "_CHECKPOINT_SHARE", 1e9)
    whole = train(tmp_path)
    newest = sorted((tmp_path / "checkpoints").glob("*.safetensors"))[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert same(whole, train(tmp_path))
    assert any(e.type == "log" and "starts from the beginning" in e.message for e in events(tmp_path))


def test_a_loss_that_is_no_number_stops_before_the_weights_change(tmp_path: Path) -> None:
    points = Points(1)
    points.points[:] = float("nan")
    trained = network()
    before = {name: value.clone() for name, value in trained.named_parameters()}
    with pytest.raises(JobError) as caught:
        fit(start_run(tmp_path), trained, points, Points(2, 0), SETTINGS)
    assert caught.value.code == "not_finite"
    assert caught.value.repair == {"action": "retry", "parameters": {"learning_rate": 0.002}}
    assert "At step 1 " in caught.value.evidence
    assert all(torch.equal(before[name], value) for name, value in trained.named_parameters())


def test_out_of_memory_halves_the_batch_and_goes_on(tmp_path: Path) -> None:
    class Greedy(Points):
        def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
            if len(inputs) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return super().augment(inputs, generator)

    greedy = Greedy(1)
    fit(start_run(tmp_path), network(), greedy, Points(2), SETTINGS)
    assert max(greedy.augmented) == 4
    warnings = [e.message for e in events(tmp_path) if e.type == "log" and e.level == "warning"]
    assert len(warnings) == 1 and "4 examples" in warnings[0]


def test_when_not_even_one_example_fits_the_card_says_so(tmp_path: Path) -> None:
    class Hopeless(Points):
        def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
            raise MemoryError

    with pytest.raises(JobError) as caught:
        fit(start_run(tmp_path), network(), Hopeless(1), Points(2), SETTINGS)
    assert caught.value.code == "out_of_memory"
    assert caught.value.repair


def test_training_ends_when_neither_score_nor_loss_improves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first epoch was lucky on few rows; the loss falls until the sixth."""
    measured = iter([(0.6, 0.9), *((0.5, loss) for loss in (0.8, 0.7, 0.6, 0.5, 0.4)), *[(0.5, 0.4)] * 20])
    monkeypatch.setattr(loop, "_measure", lambda *_: next(measured))
    train(tmp_path, Settings(epochs=20, batch_size=8, learning_rate=0.02, patience=3))
    told = [e.message for e in events(tmp_path) if e.type == "log"]
    assert sum(message.startswith("Epoch") for message in told) == 9
    assert any("No improvement for 3 epochs" in message for message in told)


def test_progress_tells_the_time_left_from_the_first_steps(tmp_path: Path) -> None:
    train(tmp_path)
    first = next(e for e in events(tmp_path) if e.type == "progress")
    assert first.eta_seconds is not None and first.step == 1 and first.steps == 32


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
def test_the_schedule_warms_up_and_ends_at_nothing(name: Any) -> None:
    settings = Settings(epochs=1, batch_size=1, schedule=name, warmup=0.1)
    rates = [schedule(step / 100, settings) for step in range(101)]
    assert rates[10] == pytest.approx(1.0) and rates[100] == pytest.approx(0.0)
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
