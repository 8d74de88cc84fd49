"""From a job's row to the spec that its runner reads."""

from apps.datasets.models import DatasetVersion
from apps.training.models import Job
from workers.contracts import names
from workers.contracts.job import DatasetRef, IngestSpec, InputFile, JobSpec, TrainSpec


def build_spec(job: Job) -> JobSpec:
    """The present attempt of a job, whole."""
    version = job.dataset_version
    is_train = job.kind == Job.Kind.TRAIN
    return JobSpec(
        job=job.pk,
        attempt=job.attempt,
        team=job.project.team_id,
        kind="train" if is_train else "ingest",
        inputs=[InputFile(name="data.parquet", key=version.data_key)] if is_train else _sources(version),
        output_prefix=names.attempt_prefix(job.pk, job.attempt),
        resume=_resume(job),
        resume_step=job.checkpoint["step"] if job.checkpoint else None,
        time_limit_s=job.time_limit_s,
        train=_train(job, version) if is_train else None,
        ingest=None if is_train else _ingest(version),
    )


def _resume(job: Job) -> list[InputFile]:
    found = job.checkpoint
    if not found:
        return []
    prefix = f"{names.attempt_prefix(found['job'], found['attempt'])}/checkpoints"
    return [
        InputFile(name=file["name"], key=f"{prefix}/{file['name']}", sha256=file["sha256"]) for file in found["files"]
    ]


def _train(job: Job, version: DatasetVersion) -> TrainSpec:
    dataset = version.dataset
    reference = DatasetRef(
        dataset=dataset.pk,
        version=version.pk,
        number=version.number,
        content_hash=version.content_hash,
        kind=dataset.kind,
        name=dataset.name,
        classes=version.classes,
        rows=version.rows,
    )
    return TrainSpec(
        template=job.template,
        preset=job.preset,
        parameters=job.parameters,
        dataset=reference,
        model_name=job.name,
        seed=job.seed,
    )


def _sources(version: DatasetVersion) -> list[InputFile]:
    """A correction reads its parent's data and, from its own source, the changes."""
    if version.origin == DatasetVersion.Origin.CORRECTION and version.parent:
        return [
            InputFile(name="source", key=version.parent.data_key),
            InputFile(name="changes.json", key=version.source_key),
        ]
    return [InputFile(name="source", key=version.source_key)]


def _ingest(version: DatasetVersion) -> IngestSpec:
    return IngestSpec(
        kind=version.dataset.kind,
        filename=version.source_name,
        mapping=version.mapping,
        corrections=version.origin == DatasetVersion.Origin.CORRECTION,
    )
