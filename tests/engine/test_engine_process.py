"""How a job ends that does not succeed: a card that a person can use, an exit code that the runner knows."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from workers.contracts.events import EVENT, Failed
from workers.contracts.job import DatasetRef, JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.engine import __main__ as engine
from workers.engine.classification import TrainedClassifier
from workers.task_templates import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
KEY = "text-classification"


def make_job(folder: Path, key: str = KEY, kind: str = "text", **parameters: Any) -> JobDir:
    dataset = DatasetRef.model_validate(
        {"dataset": "d", "version": "v", "number": 1, "content_hash": "h", "kind": kind, "name": "Toy"}
    )
    train = TrainSpec(template=key, preset="fast", parameters=parameters, dataset=dataset, model_name="M")
    spec = JobSpec(job="j", attempt=1, team="t", kind="train", inputs=[], output_prefix="p", train=train)
    job_dir = JobDir.create(folder, spec)
    TEMPLATES[KEY].toy_data(job_dir.inputs / "data.parquet")
    return job_dir


def last_event(job_dir: JobDir) -> Any:
    return EVENT.validate_json(job_dir.events_path.read_bytes().splitlines()[-1])


def failure(job_dir: JobDir) -> Failed:
    assert engine.main([str(job_dir.root)]) == 1
    assert not job_dir.result_path.exists()
    event = last_event(job_dir)
    assert isinstance(event, Failed)
    return event


def test_bad_parameters_are_named_on_the_card(tmp_path: Path) -> None:
    card = failure(make_job(tmp_path, epochs=0)).error
    assert card.code == "parameters_invalid" and card.evidence.startswith("epochs: ")


def test_an_unknown_template_and_the_wrong_kind_of_data_are_told_apart(tmp_path: Path) -> None:
    assert failure(make_job(tmp_path / "a", key="fortune-telling")).error.code == "template_unknown"
    assert failure(make_job(tmp_path / "b", kind="image")).error.code == "template_mismatch"


def test_a_model_that_answers_differently_when_served_leaves_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_dir = make_job(tmp_path, epochs=1)
    train = TEMPLATES[KEY].train

    def spoilt(run: Any) -> Any:
        trained = train(run)
        assert isinstance(trained, TrainedClassifier)
        # Other labels than those that were trained: what a mixed-up export would do.
        trained._scores = {split: scores[:, ::-1] for split, scores in trained._scores.items()}
        return trained

    monkeypatch.setattr(TEMPLATES[KEY], "train", spoilt)
    card = failure(job_dir).error
    assert card.code == "parity_failed" and "of 60 test answers differ" in card.evidence
    assert list(job_dir.output.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/srv/x"), "disk_full"),
        (ZeroDivisionError("division by zero in /srv/secret/place/file"), "job_crashed"),
    ],
)
def test_every_error_becomes_a_card_without_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def broken(_run: Any) -> Any:
        raise error

    monkeypatch.setattr(TEMPLATES[KEY], "train", broken)
    card = failure(make_job(tmp_path)).error
    assert card.code == code and card.hint
    assert "/srv" not in card.evidence
    if code == "job_crashed":
        assert card.evidence.startswith("ZeroDivisionError: division by zero")


def test_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    job_dir = make_job(tmp_path, epochs=500, patience=100)
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.engine", str(tmp_path)], cwd=ROOT, env={"PATH": os.environ["PATH"]}
    )
    deadline = time.monotonic() + 60
    while not (job_dir.events_path.exists() and b'"step"' in job_dir.events_path.read_bytes()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 143
