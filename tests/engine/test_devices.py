"""Training in two processes over gloo, as two GPUs would: the same model, and what happens when one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from workers.contracts.job import DatasetRef, JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.task_templates import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
KEY = "text-classification"


def make_job(folder: Path, **parameters: Any) -> JobDir:
    dataset = DatasetRef(dataset="d", version="v", number=1, content_hash="h", kind="text", name="Toy")
    train = TrainSpec(template=KEY, preset="fast", parameters=parameters, dataset=dataset, model_name="M")
    spec = JobSpec(job="j", attempt=1, team="t", kind="train", inputs=[], output_prefix="p", train=train)
    job_dir = JobDir.create(folder, spec)
    TEMPLATES[KEY].toy_data(job_dir.inputs / "data.parquet")
    return job_dir


def start(job_dir: JobDir, **environment: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "workers.engine", str(job_dir.root)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def events(job_dir: JobDir) -> list[dict[str, Any]]:
    lines = job_dir.events_path.read_bytes().splitlines() if job_dir.events_path.exists() else []
    return [json.loads(line) for line in lines]


def curve(job_dir: JobDir) -> dict[int, float]:
    """Validation loss by step."""
    return {
        event["step"]: event["values"]["validation/loss"]
        for event in events(job_dir)
        if event["type"] == "metric" and "validation/loss" in event["values"]
    }


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> JobDir:
    """One process that computes halves of batches: what two processes compute together."""
    job_dir = make_job(tmp_path_factory.mktemp("alone"), epochs=6, batch_size=32, micro_batch=16)
    assert start(job_dir).wait(timeout=300) == 0
    return job_dir


def test_two_processes_train_the_model_that_one_would_and_a_killed_one_is_no_failure(
    alone: JobDir, tmp_path: Path
) -> None:
    job_dir = make_job(tmp_path, epochs=6, batch_size=32, devices=2)
    first = start(job_dir, SLIPWAY_CHECKPOINT_SECONDS="0")
    try:
        deadline = time.monotonic() + 200
        while not any(event["type"] == "checkpoint" for event in events(job_dir)):
            assert first.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        ranks = children(first.pid)
        assert len(ranks) == 2
        os.kill(ranks[1], signal.SIGKILL)
        # It ends as the killed one did, without a word of failure: a runner tries again.
        assert first.wait(timeout=60) == -signal.SIGKILL
    finally:
        first.kill()
    assert not any(event["type"] == "failed" for event in events(job_dir))
    assert not job_dir.result_path.exists()

    assert start(job_dir).wait(timeout=300) == 0
    assert any(event["type"] == "log" and "Resumed at step" in event["message"] for event in events(job_dir))
    assert {event["device"] for event in events(job_dir) if event["type"] == "device"} == {"cpu (2 × 1 threads)"}
    # Dropout included: the halves of a batch have the same seeds in both.
    together = curve(job_dir)
    assert set(together) == set(curve(alone))
    for step, loss in curve(alone).items():
        assert together[step] == pytest.approx(loss, abs=2e-3)
    result, expected = (json.loads(one.result_path.read_bytes()) for one in (job_dir, alone))
    assert result["metrics"]["test"]["accuracy"] == pytest.approx(expected["metrics"]["test"]["accuracy"], abs=0.04)


def test_what_fails_in_one_of_several_processes_is_said_once(tmp_path: Path) -> None:
    job_dir = make_job(tmp_path, epochs=1, devices=2, batch_size=1)
    assert start(job_dir).wait(timeout=200) == 1
    failed = [event for event in events(job_dir) if event["type"] == "failed"]
    assert len(failed) == 1 and failed[0]["error"]["code"] == "parameters_invalid"
    assert failed[0]["error"]["repair"] == {"action": "retry", "parameters": {"devices": 1}}
