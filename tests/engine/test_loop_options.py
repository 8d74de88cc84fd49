"""What the training loop can be told, and how it heals: mixing, balance, groups, averages, limits of time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.engine.points import SETTINGS, Points, events, logs, network, same, start_run, train
from workers.engine import loop, threads
from workers.engine.balance import class_weights, epoch_rows
from workers.engine.examples import Feed
from workers.engine.loop import fit
from workers.engine.optimizing import Average, Group, make_optimizer, set_rate
from workers.engine.run import Run
from workers.engine.settings import Settings


def options(**changed: Any) -> Settings:
    return SETTINGS.model_copy(update=changed)


class NotANumber(nn.Module):
    """Turns its output into no number at one call in training, for as often as it is told."""

    def __init__(self, inner: nn.Module, call: int, times: int = 1) -> None:
        super().__init__()
        self.inner, self.call, self.times, self.calls = inner, call, times, 0

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.inner(inputs)
        if self.training:
            self.calls += 1
            if self.calls >= self.call and self.times:
                self.times -= 1
                return scores * float("nan")
        return scores


def test_a_loss_that_is_no_number_means_half_the_rate_from_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(loop, "_CHECKPOINT_SHARE", 1e9)
    fit(start_run(tmp_path), NotANumber(network(), call=6), Points(1), Points(2), options(epochs=2))
    said = logs(tmp_path)
    assert "At step 6 " in said and "goes on from step 5 at half the learning rate" in said
    rates = {
        e.step: e.values["train/learning_rate"]
        for e in events(tmp_path)
        if e.type == "metric" and "train/loss" in e.values
    }
    healthy = train(tmp_path / "healthy", options(epochs=2))
    assert healthy is not None
    expected = {
        e.step: e.values["train/learning_rate"]
        for e in events(tmp_path / "healthy")
        if e.type == "metric" and "train/loss" in e.values
    }
    assert rates[5] == expected[5] and rates[6] == pytest.approx(expected[6] / 2) and rates[16] == expected[16] / 2


def test_a_training_that_went_back_once_is_resumed_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to the start at half the rate; killed after that, the next attempt goes on at half the rate."""
    whole = NotANumber(network(), call=3)
    fit(start_run(tmp_path / "whole"), whole, Points(1), Points(2), SETTINGS)
    save = loop.save

    class Killed(BaseException):
        pass

    def save_and_die(now: Any, over: bool = False) -> float:
        seconds = save(now) if now.at.step in (0, 7) else 0.0
        if now.at.step == 7:
            raise Killed
        return seconds

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(loop, "save", save_and_die)
    with pytest.raises(Killed):
        fit(start_run(tmp_path / "parts"), NotANumber(network(), call=3), Points(1), Points(2), SETTINGS)
    monkeypatch.setattr(loop, "save", save)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 3600.0)
    rest = NotANumber(network(), call=3, times=0)
    fit(start_run(tmp_path / "parts"), rest, Points(1), Points(2), SETTINGS)
    assert same(whole, rest)


def test_training_stops_before_the_time_limit_with_the_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run(tmp_path, time_limit_s=100)
    left = iter([1000.0] * 10 + [39.0] * 100)
    monkeypatch.setattr(run, "seconds_left", lambda: next(left))
    monkeypatch.setattr(loop, "_reserve", lambda *_: 40.0)
    trained = network()
    fit(run, trained, Points(1), Points(2), SETTINGS)
    assert run.notes == ["The time limit came near: training ended after 11 of 32 steps, with the best weights so far."]
    # The unfinished epoch was judged, too: 8 steps and 3 more.
    assert [e.step for e in events(tmp_path) if e.type == "metric" and "validation/loss" in e.values] == [8, 11]
    # A later attempt, which has only to evaluate, says the same.
    again = start_run(tmp_path, time_limit_s=100)
    other = network()
    fit(again, other, Points(1), Points(2), SETTINGS)
    assert again.notes == run.notes and same(trained, other)


def test_mixed_targets_are_learned_from(tmp_path: Path) -> None:
    class Mixed(Points):
        mixes = True

        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.seen: list[Tensor] = []

        def mix(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            share = torch.rand(len(inputs), 1, generator=generator)
            self.seen.append(share * targets + (1 - share) * targets.flip(0))
            return share * inputs + (1 - share) * inputs.flip(0), self.seen[-1]

    examples = Mixed(1)
    fit(start_run(tmp_path), network(), examples, Points(2), SETTINGS)
    assert examples.seen[0].dtype == torch.float32 and examples.seen[0].shape[1] == 2
    accuracies = [
        e.values["validation/accuracy"] for e in events(tmp_path) if e.type == "metric" and len(e.values) == 2
    ]
    assert max(accuracies) >= 0.95


def test_unmixed_soft_targets_are_the_hard_ones(tmp_path: Path) -> None:
    class Soft(Points):
        mixes = True

    settings = options(label_smoothing=0.1, optimizer="sgd", epochs=1)
    hard, soft = network(), network()
    fit(start_run(tmp_path / "hard"), hard, Points(1), Points(2, 0), settings)
    fit(start_run(tmp_path / "soft"), soft, Soft(1), Points(2, 0), settings)
    for a, b in zip(hard.parameters(), soft.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_groups_have_their_own_rate_and_what_is_in_none_stays(tmp_path: Path) -> None:
    trained = network()
    before = {name: value.detach().clone() for name, value in trained.named_parameters()}
    last, first = trained[4], trained[0]
    groups = [Group(list(last.parameters())), Group(list(first.parameters()), rate=0.001)]
    fit(start_run(tmp_path), trained, Points(1), Points(2), options(epochs=1, optimizer="sgd"), groups)
    moved = {name: float((value.detach() - before[name]).abs().max()) for name, value in trained.named_parameters()}
    assert moved["1.weight"] == moved["1.bias"] == 0
    assert 0 < moved["0.weight"] < moved["4.weight"] / 20


@pytest.mark.parametrize(("optimizer", "key"), [("sgd", "momentum"), ("adamw", "betas")])
def test_one_cycle_turns_the_momentum_the_other_way(optimizer: Any, key: str) -> None:
    settings = options(optimizer=optimizer, schedule="one-cycle", warmup=0.3)
    made = make_optimizer([Group(list(network().parameters()), rate=0.5)], settings)

    def at(position: float) -> tuple[float, float]:
        rate = set_rate(made, settings, position, 1.0)
        value = made.param_groups[0][key]
        assert made.param_groups[0]["lr"] == pytest.approx(rate / 2)
        return rate, value if isinstance(value, float) else value[0]

    assert at(0.3) == pytest.approx((0.02, 0.85))
    assert at(1.0) == pytest.approx((0.0, 0.95))
    assert at(0.0)[0] == pytest.approx(0.02 / 25)


def test_l1_makes_weights_exactly_zero(tmp_path: Path) -> None:
    sparse = network()
    fit(start_run(tmp_path), sparse, Points(1), Points(2, 0), options(l1=1.0))
    weights = [value for value in sparse.parameters() if value.ndim > 1]
    assert sum(int((value == 0).sum()) for value in weights) >= 4


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_rare_classes_are_heard_more(balance: Any) -> None:
    labels = np.array([0] * 900 + [1] * 100)
    settings = options(class_balance=balance)
    rows = epoch_rows(labels, settings, np.random.default_rng(0))
    weights = class_weights(labels, settings)
    share = float(weights[labels[rows]][labels[rows] == 1].sum() / weights[labels[rows]].sum())
    # The fourth root of 9 times rarer: 1.73 times the say.
    assert len(rows) == 1000 and share == pytest.approx(0.161, abs=0.002)
    if balance == "sampling":
        assert set(rows.tolist()) >= set(range(900, 1000))


def test_an_average_forgets_its_start() -> None:
    model, twin = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(twin.weight, 1000.0)
    nn.init.constant_(model.weight, 1.0)
    average = Average(model, twin, steps=10)
    for step in range(1, 101):
        average.update(step)
    assert twin.weight.item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("steps", [20, 60, 400])
def test_an_average_looks_as_far_back_as_it_is_told(steps: int) -> None:
    """Of weights that grow by one in each step it is that many steps behind, however seldom it takes them in."""
    model, twin = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    average = Average(model, twin, steps)
    behind = []
    for step in range(1, 40 * steps):
        nn.init.constant_(model.weight, step)
        average.update(step)
        behind.append(step - twin.weight.item())
    assert np.mean(behind[-steps:]) == pytest.approx(steps, rel=0.1)


def test_batches_do_not_depend_on_what_was_made_ahead() -> None:
    examples = Points(1)
    one, other = Feed(examples, SETTINGS, 7, ahead=True), Feed(examples, SETTINGS, 7)
    for step in range(20):
        one.batch(step, 8)
    for step in (19, 3, 4, 19):
        a, b = one.batch(step, 4), other.batch(step, 4)
        assert all(torch.equal(p.inputs, q.inputs) and p.seed == q.seed for p, q in zip(a.parts, b.parts, strict=True))
    one.close()
    other.close()


def test_a_share_of_a_batch_is_the_part_that_one_process_would_compute() -> None:
    examples = Points(1)
    alone = Feed(examples, SETTINGS, 7).batch(5, 4)
    shares = [Feed(examples, SETTINGS, 7, share=(rank, 2)).batch(5, 4) for rank in range(2)]
    assert [share.parts[0].seed for share in shares] == [part.seed for part in alone.parts]
    for share, part in zip(shares, alone.parts, strict=True):
        assert torch.equal(share.parts[0].inputs, part.inputs) and share.weight == alone.weight


def test_deterministic_runs_are_bit_equal_and_restore_the_mode(tmp_path: Path) -> None:
    settings = options(deterministic=True)
    assert same(train(tmp_path / "a", settings), train(tmp_path / "b", settings))
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_a_deterministic_form_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            raise RuntimeError("some_op_cuda does not have a deterministic implementation, but you set it. More.")

    with pytest.raises(loop.JobError) as caught:
        fit(start_run(tmp_path), Refusing(2, 2), Points(1), Points(2), options(deterministic=True))
    assert caught.value.repair == {"action": "retry", "parameters": {"deterministic": False}}
    assert "some_op_cuda" in caught.value.evidence


@pytest.mark.parametrize("found", [None, 0.0, 1.0])
def test_the_update_is_that_of_pytorchs_own_adamw(found: float | None) -> None:
    """Also under a gradient scaler, which says what to divide gradients by, and when to leave a step out."""
    ours, theirs = network().eval(), network().eval()  # dropout would draw for each
    settings = options(optimizer="adamw", learning_rate=0.01)
    groups = [[ours[0].weight, ours[4].weight], [ours[4].bias]]  # type: ignore[index]
    mine = make_optimizer([Group(groups[0], 1.0, 0.1), Group(groups[1], 0.5, 0.0)], settings)
    given = [{"params": [theirs[0].weight, theirs[4].weight], "weight_decay": 0.1},  # type: ignore[index]
             {"params": [theirs[4].bias], "weight_decay": 0.0}]  # type: ignore[index]  # fmt: skip
    pytorchs = torch.optim.AdamW(given, fused=True)
    for step in range(5):
        set_rate(mine, settings, step / 5, 1.0)
        for group, own in zip(pytorchs.param_groups, mine.param_groups, strict=True):
            group["lr"], group["betas"] = own["lr"], own["betas"]
        for model, optimizer in ((ours, mine), (theirs, pytorchs)):
            optimizer.zero_grad()
            model(Points(step).points).square().sum().backward()
            if found is not None:
                optimizer.grad_scale = torch.tensor(8.0)  # type: ignore[attr-defined]
                optimizer.found_inf = torch.tensor(found if step == 2 else 0.0)  # type: ignore[attr-defined]
            optimizer.step()
    assert same(ours, theirs) and not same(ours, network())
    states = [optimizer.state_dict()["state"] for optimizer in (mine, pytorchs)]
    assert all(torch.equal(states[0][n][name], states[1][n][name]) for n in states[1] for name in states[1][n])


def test_the_optimizers_do_not_load_the_compiler() -> None:
    """PyTorch's own import its compiler when they are made, which takes seconds."""
    import subprocess
    import sys

    code = (
        "import sys, torch; from workers.engine.optimizing import make_optimizer, default_groups; "
        "from workers.engine.settings import Settings; m = torch.nn.Linear(2, 2); "
        "o = make_optimizer(default_groups(m, 0.1), Settings(epochs=1, batch_size=1)); "
        "o.zero_grad(); m(torch.ones(1, 2)).sum().backward(); o.step(); o.load_state_dict(o.state_dict()); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_compiling_is_for_long_runs_on_gpus() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert options().compiles(cuda, 10_000) and not options().compiles(cuda, 100)
    assert not options().compiles(cpu, 10_000) and options(compile="on").compiles(cpu, 1)
    assert not options(deterministic=True).compiles(cuda, 10_000)


def test_a_run_tells_how_long_it_may_still_take(tmp_path: Path) -> None:
    run: Run = start_run(tmp_path, time_limit_s=50)
    run.clock.resume(30)
    assert 19 < run.seconds_left() < 20


def test_beside_other_work_training_uses_half_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        for busy, wanted in ((3.0, 4), (60.0, 2)):
            monkeypatch.setattr(threads.psutil, "cpu_percent", lambda _interval, busy=busy: busy)
            assert threads.choose() == wanted
        with threads.kept():
            torch.set_num_threads(1)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
