"""How a job ends that does not succeed: a card that a person can use, an exit code that the runner knows."""

import errno
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.engine.jobs import TEXT, Job, make_job, make_spec, start
from workers.contracts.events import EVENT, Failed
from workers.contracts.jobdir import JobDir
from workers.engine import __main__ as engine
from workers.engine.classification import TrainedClassifier
from workers.task_templates import TEMPLATES


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
    unknown = make_spec("fortune-telling", kind="text")
    assert failure(Job.create(tmp_path / "a", unknown)).error.code == "template_unknown"
    assert failure(Job.create(tmp_path / "b", make_spec(kind="image"))).error.code == "template_mismatch"


def test_a_model_that_answers_differently_when_served_leaves_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_dir = make_job(tmp_path, epochs=1)
    train = TEMPLATES[TEXT].train

    def spoilt(run: Any) -> Any:
        trained = train(run)
        assert isinstance(trained, TrainedClassifier)
        # Other labels than those that were trained: what a mixed-up export would do.
        trained._scores = {split: scores[:, ::-1] for split, scores in trained._scores.items()}
        return trained

    monkeypatch.setattr(TEMPLATES[TEXT], "train", spoilt)
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

    monkeypatch.setattr(TEMPLATES[TEXT], "train", broken)
    card = failure(make_job(tmp_path)).error
    assert card.code == code and card.hint
    assert "/srv" not in card.evidence
    if code == "job_crashed":
        assert card.evidence.startswith("ZeroDivisionError: division by zero")


def test_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    job_dir = make_job(tmp_path, epochs=500, patience=100)
    process = start(job_dir)
    deadline = time.monotonic() + 60
    while not (job_dir.events_path.exists() and b'"step"' in job_dir.events_path.read_bytes()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 143
