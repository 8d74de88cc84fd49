"""What the tests of training share: jobs in a wanted state, and what a runner would say of them."""

import time
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.datasets.models import DatasetVersion
from apps.training.models import Job
from apps.training.recording import apply_entry
from tests.cast import make_job
from workers.contracts.events import EVENT

NOW = time.time()
BUNDLE = {"bundle.zip": {"sha256": "b" * 64, "bytes": 5}}


def queued(version: DatasetVersion, **fields: Any) -> Job:
    """A queued training job that was just sent."""
    now = timezone.now()
    defaults = {"state": Job.State.QUEUED, "started": None, "ended": None, "queued": now, "sent": now}
    return make_job(version, name="Training", **{**defaults, **fields})


class Teller:
    """A runner's side of the event stream, for one attempt."""

    def __init__(self, job: Job, attempt: int = 1) -> None:
        self.job, self.attempt, self.seq = job, attempt, 0

    def entry(self, type: str, **fields: Any) -> dict[str, str]:
        """The next entry of the stream."""
        self.seq += 1
        event = EVENT.validate_python({"type": type, "time": NOW + self.seq, **fields})
        return {
            "job": self.job.pk,
            "attempt": str(self.attempt),
            "seq": str(self.seq),
            "event": event.model_dump_json(exclude_none=True),
        }

    def say(self, type: str, **fields: Any) -> Job:
        """Tell the next event and apply it; the job after it."""
        with transaction.atomic():
            apply_entry(self.entry(type, **fields))
        self.job.refresh_from_db()
        return self.job

    def start(self, **fields: Any) -> Job:
        """The first event of an attempt."""
        return self.say("started", runner="runner-1", device="cpu (2 cores)", **fields)

    def checkpoint(self, step: int) -> Job:
        """A stored checkpoint."""
        return self.say("checkpoint", step=step, files=[{"name": f"step-{step}", "sha256": "c" * 64, "bytes": 1}])


def train_result(version: DatasetVersion, job: Job) -> dict[str, Any]:
    """result.json of a training."""
    certificate = {"examples": 2, "label_flips": 0, "max_abs_difference": 1e-7, "tolerance": 1e-4, "passed": True}
    metrics = {"validation": {"accuracy": 0.9}, "test": {"accuracy": 0.8}}
    provenance = {
        "job": job.pk,
        "attempt": job.attempt,
        "dataset": version.dataset_id,
        "dataset_version": version.pk,
        "dataset_number": version.number,
        "dataset_hash": version.content_hash,
        "template": job.template,
        "preset": job.preset,
        "parameters": {"epochs": 3},
        "seed": 0,
        "code_version": "1",
        "torch_version": "2",
        "trained_at": "2026-01-01T00:00:00Z",
        "device": "cpu",
    }
    manifest = {
        "name": job.name,
        "template": job.template,
        "kind": "text",
        "predictor": "text-labels",
        "input_schema": {},
        "output_schema": {},
        "preprocessing": {},
        "labels": ["bad", "good"],
        "metrics": metrics,
        "certificate": certificate,
        "provenance": provenance,
        "files": {},
    }
    report = {"kind": "classification", "labels": ["bad", "good"], "splits": {}}
    return {
        "metrics": metrics,
        "report": report,
        "certificate": certificate,
        "manifest": manifest,
        "useful_seconds": 1.0,
        "files": BUNDLE,
    }


def ingest_result() -> dict[str, Any]:
    """result.json of an ingest."""
    return {
        "rows": 3,
        "rejected": 1,
        "content_hash": "d" * 64,
        "columns": [{"name": "text", "type": "string"}],
        "mapping": {"text": "text", "label": "label"},
        "classes": {"good": 3},
        "splits": {"train": 3},
        "profile": {},
        "issues": [],
        "files": {"data.parquet": {"sha256": "e" * 64, "bytes": 9}, "errors.csv": {"sha256": "f" * 64, "bytes": 1}},
    }
