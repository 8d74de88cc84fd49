"""What changes datasets."""

from typing import Any, Final, cast

from django.db import transaction

from apps.core import audit
from apps.core.throttle import throttled
from apps.datasets import sources as files
from apps.datasets.edits import MAX_LABEL_CHARS, append_files, correct_rows, repair_version, restore_version
from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.sources import Source
from apps.datasets.trash import rename_dataset, trash_dataset, untrash_dataset
from apps.datasets.uploads import begin_upload, cancel_upload, check_room, count_fetched, store_upload
from apps.projects.models import Project
from apps.teams.access import require
from apps.teams.models import User
from apps.training.actions import queue_ingest
from apps.training.models import Job
from workers.contracts import names
from workers.contracts.errors import ErrorCard, JobError, UserError
from workers.contracts.job import GUESSED, FileOptions
from workers.contracts.kinds import KINDS, DatasetKind
from workers.contracts.manifest import LOOKS, SUSPECTS, IngestResult, TrainResult

__all__ = [
    "MAX_LABEL_CHARS",
    "append_files",
    "begin_upload",
    "cancel_upload",
    "check_new",
    "correct_rows",
    "create_dataset",
    "fail_import",
    "finish_import",
    "rename_dataset",
    "repair_version",
    "restore_version",
    "store_upload",
    "trash_dataset",
    "untrash_dataset",
]

ROLES: Final[dict[str, frozenset[str]]] = {
    name: frozenset((*kind.needed, *kind.optional, *kind.options)) for name, kind in KINDS.items()
}
"""What a mapping can name, by kind of data: what columns are, and how they are read. Image archives have folders
instead of columns."""

State = DatasetVersion.State


@throttled("dataset")
def create_dataset(
    *,
    actor: User,
    project: Project,
    name: str,
    kind: str,
    sources: list[Source],
    mapping: dict[str, str] | None = None,
    options: FileOptions = GUESSED,
) -> DatasetVersion:
    """A dataset made of files (see apps.datasets.sources): its first version, which an ingest job fills.

    `mapping` says which column is what, {"text": "review", …}; what it leaves out is guessed, and so is what `options`
    leave out. Raises UserError `invalid`, `conflict` (archived project).
    """
    require(actor, project.team_id, "write")
    roles = dict(mapping or {})
    check_new(project, kind, roles)
    with transaction.atomic():
        # What comes from an address is not counted before it is here.
        check_room(project.team, int(any(one.url for one in sources)))
        dataset = Dataset.objects.create(project=project, name=name.strip(), kind=kind, created_by=actor)
        version = DatasetVersion.objects.create(
            dataset=dataset,
            number=1,
            **files.fields(sources),
            mapping=roles,
            options=options.model_dump(exclude_defaults=True),
            created_by=actor,
        )
        queue_ingest(actor=actor, version=version)
        audit.record(
            actor=actor,
            team=project.team,
            project=project,
            event="dataset.created",
            noun=dataset,
            bytes=sum(one.bytes for one in sources),
        )
    return version


def check_new(project: Project, kind: str, mapping: dict[str, str]) -> None:
    """Whether a project may have such a dataset. Raises UserError `invalid`, `conflict` (archived project)."""
    _check_mapping(kind, mapping)
    if project.archived:
        raise UserError("conflict", "The project is archived.")


def _check_mapping(kind: str, mapping: dict[str, str]) -> None:
    """What columns may be mapped to."""
    if kind not in ROLES:
        raise UserError("invalid", fields=[{"field": "kind", "message": "one of " + ", ".join(ROLES)}])
    unknown = sorted(set(mapping) - ROLES[kind])
    if unknown:
        known = ", ".join(sorted(ROLES[kind])) or "nothing"
        message = f"{kind} data has no {', '.join(unknown)}: {known} can be mapped."
        raise UserError("invalid", fields=[{"field": "mapping", "message": message}])
    if mapping.get("empty_label", "") not in ("", "none"):
        raise UserError("invalid", fields=[{"field": "mapping", "message": "empty_label is none, or left out"}])
    columns = [
        column for role, column in mapping.items() if column and role not in KINDS[cast(DatasetKind, kind)].options
    ]
    if len(set(columns)) < len(columns):
        raise UserError("invalid", fields=[{"field": "mapping", "message": "A column can be only one thing."}])


@transaction.atomic
def finish_import(*, job: Job, result: IngestResult) -> DatasetVersion:
    """The import of a job has succeeded: its version is ready. Raises JobError where the result names no data."""
    version = job.dataset_version
    files = result.files
    if "data.parquet" not in files:
        raise JobError("job_crashed", "The import left no data.")
    output = f"{names.attempt_prefix(job.pk, job.attempt)}/output"
    changed = DatasetVersion.objects.filter(pk=version.pk, state=State.PROCESSING).update(
        state=State.READY,
        data_key=f"{output}/data.parquet",
        **_rejected(job, result),
        findings_key=f"{output}/findings.parquet" if "findings.parquet" in files else "",
        looks_key=f"{output}/{LOOKS}" if LOOKS in files else "",
        suspects_key=f"{output}/{SUSPECTS}" if SUSPECTS in files else "",
        lineage_key=f"{output}/lineage.parquet" if "lineage.parquet" in files else "",
        data_bytes=int(files["data.parquet"]["bytes"]),
        content_hash=result.content_hash,
        rows=result.rows,
        columns=result.columns,
        mapping=result.mapping or version.mapping,  # a correction keeps its parent's
        classes=result.classes,
        splits=result.splits,
        profile=result.profile,
        error=None,
    )
    version.refresh_from_db()
    if changed:
        # What was imported is not lost because the store cannot be asked about it.
        transaction.on_commit(lambda: count_fetched(version), robust=True)
        _record_import(job, "dataset.imported", rows=result.rows, rejected=result.rejected)
    return version


@transaction.atomic
def fail_import(*, job: Job, error: ErrorCard, rejected: IngestResult | None = None) -> DatasetVersion:
    """The import of a job has failed or was cancelled: its version says why, and which rows were rejected."""
    version = job.dataset_version
    processing = DatasetVersion.objects.filter(pk=version.pk, state=State.PROCESSING)
    told = _rejected(job, rejected) if rejected else {}
    changed = processing.update(state=State.FAILED, error=error.model_dump(), **told)
    version.refresh_from_db()
    if changed:
        transaction.on_commit(lambda: count_fetched(version), robust=True)
        _record_import(job, "dataset.import_failed", code=error.code)
    return version


def _rejected(job: Job, result: IngestResult) -> dict[str, Any]:
    """What became of the rows that could not be used."""
    key = f"{names.attempt_prefix(job.pk, job.attempt)}/output/errors.csv"
    return {
        "errors_key": key if "errors.csv" in result.files else "",
        "rejected": result.rejected,
        "issues": result.issues,
    }


def record_suspects(job: Job, result: TrainResult) -> None:
    """A training that looked for wrong labels has succeeded: its version knows what it suspects."""
    if SUSPECTS in result.files:
        key = f"{names.attempt_prefix(job.pk, job.attempt)}/output/{SUSPECTS}"
        DatasetVersion.objects.filter(pk=job.dataset_version_id).update(suspects_key=key)


def _record_import(job: Job, event: str, **data: Any) -> None:
    """Slipway itself did it, on behalf of whoever asked for the import."""
    dataset = job.dataset_version.dataset
    audit.record(
        actor=job.created_by,
        team=dataset.project.team,
        project=dataset.project,
        event=event,
        noun=dataset,
        version=job.dataset_version.number,
        **data,
    )
