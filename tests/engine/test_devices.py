"""Training in two processes over gloo, as two GPUs would: the same model, and what happens when one is killed."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.engine.jobs import Job, make_job, run, start


def curve(job: Job) -> dict[int, float]:
    """Validation loss by step."""
    return {
        event["step"]: event["values"]["validation/loss"]
        for event in job.told("metric")
        if "validation/loss" in event["values"]
    }


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One process that computes halves of batches: what two processes compute together."""
    return run(make_job(tmp_path_factory.mktemp("alone"), epochs=6, batch_size=32, micro_batch=16))


def test_two_processes_train_the_model_that_one_would_and_a_killed_one_is_no_failure(
    alone: Job, tmp_path: Path
) -> None:
    job = make_job(tmp_path, epochs=6, batch_size=32, devices=2)
    first = start(job, SLIPWAY_CHECKPOINT_SECONDS="0")
    try:
        deadline = time.monotonic() + 200
        while not job.told("checkpoint"):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        ranks = children(first.pid)
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        # It ends as the killed one did, without a word of failure: a runner tries again.
        assert first.wait(timeout=60) == -signal.SIGKILL
    finally:
        first.kill()
    assert not job.told("failed")
    assert not job.result_path.exists()

    run(job)
    assert any("Resumed at step" in event["message"] for event in job.told("log"))
    assert {event["device"] for event in job.told("device")} == {"cpu (2 × 1 threads)"}
    # Dropout included: the halves of a batch have the same seeds in both.
    together = curve(job)
    assert set(together) == set(curve(alone))
    for step, loss in curve(alone).items():
        assert together[step] == pytest.approx(loss, abs=2e-3)
    expected = alone.result
    assert job.result["metrics"]["test"]["accuracy"] == pytest.approx(expected["metrics"]["test"]["accuracy"], abs=0.04)


def test_what_fails_in_one_of_several_processes_is_said_once(tmp_path: Path) -> None:
    job = make_job(tmp_path, epochs=1, devices=2, batch_size=1)
    assert start(job).wait(timeout=200) == 1
    failed = job.told("failed")
    assert len(failed) == 1 and failed[0]["error"]["code"] == "parameters_invalid"
    assert failed[0]["error"]["repair"] == {"action": "retry", "parameters": {"devices": 1}}
