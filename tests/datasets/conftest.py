"""Small real imports, in process."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.datasets import actions, sources
from apps.datasets.models import DatasetVersion, Upload
from apps.projects.models import Project
from apps.teams.models import User
from apps.training.models import Job
from apps.training.specs import build_spec
from workers.contracts import names
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import IngestResult
from workers.ingest.run import run
from workers.runner.inputs import fetch_from_afar, fetch_inputs

ApiOf = Callable[..., APIClient]
Imported = Callable[[DatasetVersion], DatasetVersion]
REVIEWS = b"text,label\n" + b"".join(
    b"a good film number %d,good\na bad film number %d,bad\n" % (n, n) for n in range(20)
)


@pytest.fixture(autouse=True)
def own_home(settings: Settings, tmp_path: Path) -> Path:
    """Uploads and artifacts of each test in a folder of its own."""
    settings.SLIPWAY_HOME = tmp_path
    settings.SLIPWAY_STORAGE = str(tmp_path / "storage")
    return tmp_path


def stored(actor: User, project: Project, data: bytes = REVIEWS, filename: str = "reviews.csv") -> Upload:
    """An upload of some bytes."""
    file = SimpleUploadedFile(filename, data)
    return actions.store_upload(actor=actor, team=project.team, filename=filename, stream=file, size=len(data))


def created(actor: User, project: Project, data: bytes = REVIEWS, **fields: Any) -> DatasetVersion:
    """The first version of a dataset of some bytes, not imported yet."""
    found = sources.of_uploads(actor, project.team, [stored(actor, project, data)])
    return actions.create_dataset(
        actor=actor, project=project, sources=found, **{"name": "Films", "kind": "text", **fields}
    )


@pytest.fixture
def imported(tmp_path: Path, settings: Settings) -> Callable[[DatasetVersion], DatasetVersion]:
    """Do the import of a version as a runner would, and apply its result."""

    def work(version: DatasetVersion) -> DatasetVersion:
        job = version.jobs.get(kind=Job.Kind.INGEST)
        spec = build_spec(job)
        job_dir = JobDir.create(tmp_path / job.pk, spec)
        never = threading.Event()
        fetch_inputs(storage(), spec, job_dir, never)
        for file in spec.inputs:
            if file.url:
                fetch_from_afar(storage(), file, job_dir.inputs, settings.SLIPWAY_IMPORTS, never, lambda read, of: None)
        job_dir.write_result(run(job_dir).model_dump(exclude={"files"}))
        result = IngestResult.model_validate_json(job_dir.result_path.read_bytes())
        for path in job_dir.output.iterdir():
            storage().put_file(path, f"{names.attempt_prefix(job.pk, job.attempt)}/output/{path.name}")
        return actions.finish_import(job=job, result=result)

    return work
