"""From a job's row to the spec that its runner reads."""

from collections.abc import Callable
from typing import Any

from apps.datasets import sources
from apps.datasets.models import DatasetVersion
from apps.training.models import Job
from workers.contracts import names
from workers.contracts.job import BatchSpec, DatasetRef, IngestSpec, InputFile, JobSpec, TrainSpec
from workers.contracts.manifest import LOOKS, SUSPECTS


def build_spec(job: Job) -> JobSpec:
    """The present attempt of a job, whole."""
    inputs, part = _PARTS[job.kind](job)
    return JobSpec(
        job=job.pk,
        attempt=job.attempt,
        team=job.project.team_id,
        kind=job.kind,  # type: ignore[arg-type]  # one of its choices
        inputs=inputs,
        output_prefix=names.attempt_prefix(job.pk, job.attempt),
        resume=_resume(job),
        resume_step=job.checkpoint["step"] if job.checkpoint else None,
        time_limit_s=job.time_limit_s,
        **{job.kind: part},
    )


def _resume(job: Job) -> list[InputFile]:
    found = job.checkpoint
    if not found:
        return []
    prefix = f"{names.attempt_prefix(found['job'], found['attempt'])}/checkpoints"
    return [
        InputFile(name=file["name"], key=f"{prefix}/{file['name']}", sha256=file["sha256"]) for file in found["files"]
    ]


def _train(job: Job) -> tuple[list[InputFile], TrainSpec]:
    version = job.dataset_version
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
    train = TrainSpec(
        template=job.template,
        preset=job.preset,
        parameters=job.parameters,
        dataset=reference,
        model_name=job.name,
        seed=job.seed,
    )
    return [InputFile(name="data.parquet", key=version.data_key)], train


_APPENDED = DatasetVersion.Origin.APPEND
_EDITED = (DatasetVersion.Origin.CORRECTION, DatasetVersion.Origin.REPAIR)


def _sources(version: DatasetVersion) -> list[InputFile]:
    """An edited version reads its parent's data, and what it is to do from its own source or from the findings."""
    parent = version.parent
    if version.origin not in _EDITED or parent is None:
        earlier = {"parent": parent.data_key, LOOKS: parent.looks_key} if version.origin == _APPENDED and parent else {}
        return [*_stored(earlier), *sources.inputs(version)]
    asked = {"changes.json": version.source_key}
    if version.origin == DatasetVersion.Origin.REPAIR:
        asked = {"findings.parquet": parent.findings_key}
    beside = {**asked, SUSPECTS: parent.suspects_key, LOOKS: parent.looks_key}
    return _stored({"source": parent.data_key, **beside})


def _stored(keys: dict[str, str]) -> list[InputFile]:
    return [InputFile(name=name, key=key) for name, key in keys.items() if key]


def _ingest(job: Job) -> tuple[list[InputFile], IngestSpec]:
    version = job.dataset_version
    ingest = IngestSpec(
        kind=version.dataset.kind,
        filename=version.source_name,
        more=[one["name"] for one in version.sources[1:]],
        **version.options,
        append=version.origin == _APPENDED,
        mapping=version.mapping,
        corrections=version.origin == DatasetVersion.Origin.CORRECTION,
        repair=version.repair if version.origin == DatasetVersion.Origin.REPAIR else "",
    )
    return _sources(version), ingest


def _batch(job: Job) -> tuple[list[InputFile], BatchSpec]:
    from apps.predictions.specs import batch_part  # its app stands above this one

    return batch_part(job.prediction)


# By kind of job: its inputs, and its part of the spec.
_PARTS: dict[str, Callable[[Job], tuple[list[InputFile], Any]]] = {
    Job.Kind.INGEST: _ingest,
    Job.Kind.TRAIN: _train,
    Job.Kind.BATCH: _batch,
}
