"""Soups: an encoder that learned several times over, and the mean of the weights that it came to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.engine.encoding import run_job, save_resnet, save_text_encoder
from tests.engine.jobs import Job, is_checkpoint, kill_when, make_job, run
from tests.engine.points import SETTINGS, Points, logs, network, same, start_run
from workers.engine.encoder_text import rounds
from workers.engine.loop import fit, predict, row_losses
from workers.engine.run import Run
from workers.engine.soup import train_soup
from workers.task_templates.text_classification import TextParams

ROUNDS: dict[str, Any] = {"encoder": "tiny", "encoder_rounds": 3, "epochs": 2, "encoder_learning_rate": 0.005}
Train = Callable[[Run, int], None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a host with a tiny encoder of each kind."""
    root = tmp_path_factory.mktemp("encoders")
    save_text_encoder(root / "tiny")
    save_resnet(root / "resnet")
    return {"SLIPWAY_ENCODERS": str(root)}


@pytest.fixture(scope="module")
def whole(place: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of three rounds, never interrupted."""
    job = make_job(tmp_path_factory.mktemp("whole"), **ROUNDS)
    return run(job, **place)


def test_several_rounds_become_one_certified_network_of_the_same_size(
    whole: Job, place: dict[str, str], tmp_path: Path
) -> None:
    one = run(make_job(tmp_path, **{**ROUNDS, "encoder_rounds": 1}), **place)
    assert whole.result["certificate"]["passed"] and whole.result["metrics"]["test"]["accuracy"] >= 0.9
    chosen = whole.result["manifest"]["provenance"]["parameters"]
    assert chosen["encoder_rounds"] == 3 and 1 <= chosen["encoder_averaged"] <= 3
    sizes = [len((job.bundle / "model.onnx").read_bytes()) for job in (whole, one)]
    assert abs(sizes[0] - sizes[1]) < 1000


def test_the_rounds_are_shown_one_after_another(whole: Job) -> None:
    said = " ".join(event.get("message", "") for event in whole.events)
    assert all(f"Round {number} of 3" in said for number in (1, 2, 3)) and "The weights are the mean" in said
    steps = [event["step"] for event in whole.told("metric")]
    announced = [event["step"] for event in whole.told("checkpoint")]
    assert steps == sorted(steps) and announced == sorted(announced)
    shares = [event["fraction"] for event in whole.told("progress")]
    assert shares == sorted(shares)
    assert {event["phase"] for event in whole.told("progress")} >= {f"Round {n} of 3: Training" for n in (1, 2, 3)}


def test_a_job_killed_in_its_second_round_goes_on_to_the_very_same_model(
    whole: Job, place: dict[str, str], tmp_path: Path
) -> None:
    job = make_job(tmp_path, **ROUNDS)
    before = kill_when(job, lambda event: is_checkpoint(event) and len(event["files"]) == 4, **place)
    run(job, **place)
    assert any("Resumed at step" in event.get("message", "") for event in job.events[before:])
    assert job.result["manifest"]["files"]["model.onnx"] == whole.result["manifest"]["files"]["model.onnx"]


def test_an_encoder_of_images_learns_in_rounds_too(
    place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_ENCODERS", place["SLIPWAY_ENCODERS"])
    job = run_job("image-classification", tmp_path, encoder="resnet", encoder_rounds=2, epochs=1)
    assert job.result["certificate"]["passed"]
    assert job.result["manifest"]["provenance"]["parameters"]["encoder_rounds"] == 2


# --- The soup itself, of networks of one weight that each round sets as it is told ---


def single(value: float = 0.0) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def sets(layer: nn.Linear, values: list[float]) -> Train:
    """A training whose rounds end with these weights; each has to begin where the first one began."""
    left = iter(values)

    def train(_run: Run, _number: int) -> None:
        assert layer.weight.item() == 0.0
        nn.init.constant_(layer.weight, next(left))

    return train


def far_from(target: float, noise: float = 0.0) -> Callable[[nn.Module], np.ndarray]:
    """Losses of four rows; `noise` is how much a weight moves some up and others down."""
    rows = noise * np.array([-1.0, 1.0, -1.0, 1.0])
    return lambda layer: abs(next(layer.parameters()).item() - target) * (1 + rows)


@pytest.mark.parametrize(
    ("ends", "noise", "expected"),
    [
        ([2.0, 4.0, 8.0], 0.0, 4.0),  # the best alone is right
        ([3.0, 5.0, 9.0], 0.0, 4.0),  # the first two together; with the third they would be worse
        ([3.0, 6.0, 3.0], 0.0, 4.0),  # all three: the worst alone helps
        ([3.0, 5.0, 9.0], 5.0, 17 / 3),  # worse with the third, but by no more than chance explains
    ],
)
def test_rounds_are_averaged_unless_the_validation_rows_speak_against_it(
    tmp_path: Path, ends: list[float], noise: float, expected: float
) -> None:
    layer = single()
    train_soup(start_run(tmp_path), layer, sets(layer, ends), far_from(4.0, noise), 3, np.inf)
    assert layer.weight.item() == pytest.approx(expected)


def test_without_validation_rows_all_rounds_count(tmp_path: Path) -> None:
    layer = single()
    train_soup(start_run(tmp_path), layer, sets(layer, [3.0, 5.0, 10.0]), None, 3, np.inf)
    assert layer.weight.item() == pytest.approx(6.0)


def test_no_round_is_begun_that_time_would_not_allow(tmp_path: Path) -> None:
    layer, run = single(), start_run(tmp_path)
    train = sets(layer, [3.0, 5.0])

    def slowly(stage: Run, number: int) -> None:
        train(stage, number)
        run.clock.resume(run.useful_seconds() + 50)

    train_soup(run, layer, slowly, None, 5, seconds=140)
    assert layer.weight.item() == pytest.approx(4.0) and run.chosen["encoder_rounds"] == 2
    assert "no time for more than 2 of 5 rounds" in logs(tmp_path)


def test_rounds_differ_by_their_order_and_the_same_seed_gives_the_same_soup(tmp_path: Path) -> None:
    train, validation = Points(1), Points(2)

    def soup(folder: Path, count: int) -> tuple[nn.Module, list[torch.Tensor]]:
        made, ends = network(), list[torch.Tensor]()

        def once(stage: Run, _number: int) -> None:
            fit(stage, made, train, validation, SETTINGS)
            ends.append(made.state_dict()["0.weight"].clone())

        def losses(found: nn.Module) -> np.ndarray:
            return row_losses(predict(found, validation, torch.device("cpu")), validation.labels)

        train_soup(start_run(folder), made, once, losses, count, np.inf)
        return made, ends

    one, ends = soup(tmp_path / "one", 3)
    other, _ = soup(tmp_path / "other", 3)
    _, (end,) = soup(tmp_path / "alone", 1)
    assert same(one, other) and not torch.equal(ends[0], ends[1]) and not torch.equal(ends[1], ends[2])
    assert torch.equal(ends[0], end)


@pytest.mark.parametrize(("rows", "expected"), [(2_000, 4), (60_000, 1)])
def test_the_more_there_is_to_read_the_fewer_rounds(tmp_path: Path, rows: int, expected: int) -> None:
    run, read = start_run(tmp_path), {"weights": 10_600_000, "tokens": 60 * rows, "steps": rows // 10}
    assert rounds(run, TextParams(), **read) == expected
    # What a user says goes; folds' models are compared, or answer together anyway.
    assert rounds(run, TextParams(encoder_rounds=2), **read) == 2
    assert rounds(run, TextParams(folds=3), **read) == 1
