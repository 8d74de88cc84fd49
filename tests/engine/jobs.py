"""Training jobs on the templates' toy data, and the engine's process on them."""

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from workers.contracts.job import DatasetRef, JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.task_templates import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
TEXT = "text-classification"


class Job(JobDir):
    """A job's folder, as a test reads it."""

    @cached_property
    def key(self) -> str:
        """The template's."""
        train = self.spec().train
        assert train
        return train.template

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has told so far."""
        lines = self.events_path.read_bytes().split(b"\n")[:-1] if self.events_path.exists() else []
        return [json.loads(line) for line in lines]

    def told(self, type: str) -> list[dict[str, Any]]:
        """Its events of one type."""
        return [event for event in self.events if event["type"] == type]

    @cached_property
    def result(self) -> dict[str, Any]:
        """What it left at its end."""
        content: dict[str, Any] = json.loads(self.result_path.read_bytes())
        return content

    @cached_property
    def bundle(self) -> Path:
        """The folder of its bundle, unzipped."""
        with zipfile.ZipFile(self.output / "bundle.zip") as archive:
            archive.extractall(self.root / "unzipped")
        return self.root / "unzipped"


def make_spec(
    key: str = TEXT,
    *,
    kind: str = "",
    preset: str = "fast",
    seed: int = 0,
    data_name: str = "Toy",
    model_name: str = "M",
    parameters: dict[str, Any] | None = None,
    **limits: Any,
) -> JobSpec:
    """The spec of a training job."""
    dataset = DatasetRef.model_validate(
        {"dataset": "d", "version": "v", "number": 1, "content_hash": "h", "name": data_name}
        | {"kind": kind or TEMPLATES[key].kind}
    )
    train = TrainSpec.model_validate(
        {"template": key, "preset": preset, "parameters": parameters or {}, "dataset": dataset}
        | {"model_name": model_name, "seed": seed}
    )
    return JobSpec(job="j", attempt=1, team="t", kind="train", inputs=[], output_prefix="p", train=train, **limits)


def make_job(folder: Path, key: str = TEXT, *, preset: str = "fast", seed: int = 0, **parameters: Any) -> Job:
    """A job on the template's toy data."""
    job = Job.create(folder, make_spec(key, preset=preset, seed=seed, parameters=parameters))
    TEMPLATES[key].toy_data(job.inputs / "data.parquet")
    return job


def start(job: JobDir, **environment: str) -> "subprocess.Popen[bytes]":
    """The engine's process on a job, with an environment as bare as the runner's."""
    return subprocess.Popen(
        [sys.executable, "-m", "workers.engine", str(job.root)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run(job: Job, **environment: str) -> Job:
    """The job once the engine's process has ended well."""
    assert start(job, **environment).wait(timeout=300) == 0, job.events[-1]
    return job


def kill_when(job: Job, moment: Callable[[dict[str, Any]], bool], **environment: str) -> int:
    """Run the job with a checkpoint at every chance, and kill it once it has told an event of that kind.

    Returns how many events it has told."""
    process = start(job, SLIPWAY_CHECKPOINT_SECONDS="0", **environment)
    try:
        deadline = time.monotonic() + 300
        while not any(map(moment, job.events)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)  # between two looks
    finally:
        process.kill()
        process.wait()
    assert not job.result_path.exists()
    return len(job.events)


def is_checkpoint(event: dict[str, Any]) -> bool:
    """Whether an event tells of a checkpoint."""
    return bool(event["type"] == "checkpoint")
