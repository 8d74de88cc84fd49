"""A batch prediction in a job's folder, as a runner would set it up."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from workers.contracts.events import EVENT, Event
from workers.contracts.job import BatchSpec, JobSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.kinds import DatasetKind
from workers.contracts.manifest import BatchResult

ROOT = Path(__file__).resolve().parents[2]
PREDICTION = "prd_" + "a" * 24


def job(root: Path, bundle: Path, content: bytes, kind: DatasetKind, **options: Any) -> JobDir:
    """A job's folder with a file, called `filename` if given, and a bundle."""
    options = {"filename": "rows.csv", **options}
    batch = BatchSpec(prediction=PREDICTION, project="p", model="m", kind=kind, **options)
    spec = JobSpec(job="job_a", attempt=1, team="t", kind="batch", inputs=[], output_prefix="o", batch=batch)
    job_dir = JobDir.create(root, spec)
    (job_dir.inputs / "source").write_bytes(content)
    shutil.copy(bundle, job_dir.inputs / "bundle.zip")
    return job_dir


def start(job_dir: JobDir) -> "subprocess.Popen[bytes]":
    """The program, as a runner starts it."""
    command = [sys.executable, "-m", "workers.batch", str(job_dir.root)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True)


def finish(job_dir: JobDir) -> BatchResult:
    """Run the job in this process; its result."""
    from workers.batch.run import run

    job_dir.write_result(run(job_dir).model_dump())
    return BatchResult.model_validate_json(job_dir.result_path.read_bytes())


def events(job_dir: JobDir, kind: type[Event] | None = None) -> list[Any]:
    """What it said, of one kind if given."""
    said = [EVENT.validate_json(line) for line in job_dir.events_path.read_bytes().splitlines()]
    return [event for event in said if kind is None or isinstance(event, kind)]


def output(job_dir: JobDir) -> bytes:
    """The answered file."""
    (path,) = job_dir.output.iterdir()
    return path.read_bytes()
