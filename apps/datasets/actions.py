"""What changes datasets."""

import json
from typing import Any, Final

from django.db import transaction
from django.db.models import Max

from apps.core import audit
from apps.core.artifacts import storage
from apps.core.ids import new_id
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.datasets.uploads import begin_upload, cancel_upload, ensure_stored, store_upload
from apps.projects.models import Project
from apps.teams.access import require
from apps.teams.models import User
from apps.training.actions import queue_ingest
from apps.training.models import Job
from workers.contracts import names
from workers.contracts.errors import ErrorCard, JobError, UserError
from workers.contracts.kinds import KINDS
from workers.contracts.manifest import SUSPECTS, IngestResult, TrainResult

__all__ = [
    "begin_upload",
    "cancel_upload",
    "check_mapping",
    "correct_rows",
    "create_dataset",
    "fail_import",
    "finish_import",
    "restore_version",
    "store_upload",
]

ROLES: Final[dict[str, frozenset[str]]] = {
    name: frozenset((*kind.needed, *kind.optional)) for name, kind in KINDS.items()
}
"""What columns can be mapped to, by kind of data. Image archives have folders instead of columns."""

MAX_CHANGES: Final = 10_000
MAX_LABEL_CHARS: Final = 200

State = DatasetVersion.State


def create_dataset(
    *, actor: User, project: Project, name: str, kind: str, upload: Upload, mapping: dict[str, str] | None = None
) -> DatasetVersion:
    """A dataset made of an upload: its first version, which an ingest job fills.

    `mapping` says which column is what, {"text": "review", …}; what it leaves out is guessed. Raises UserError
    `invalid`, `conflict` (archived project), `upload_incomplete`, `upload_gone`.
    """
    require(actor, project.team_id, "write")
    roles = dict(mapping or {})
    check_mapping(kind, roles)
    if project.archived:
        raise UserError("conflict", "The project is archived.")
    if upload.team_id != project.team_id or upload.created_by_id != actor.pk:
        raise UserError("not_found")
    ensure_stored(upload)
    with transaction.atomic():
        dataset = Dataset.objects.create(project=project, name=name.strip(), kind=kind, created_by=actor)
        version = DatasetVersion.objects.create(
            dataset=dataset,
            number=1,
            source_key=upload.key,
            source_name=upload.filename,
            mapping=roles,
            created_by=actor,
        )
        queue_ingest(actor=actor, version=version)
        audit.record(
            actor=actor, team=project.team, project=project, event="dataset.created", noun=dataset, bytes=upload.size
        )
    return version


def check_mapping(kind: str, mapping: dict[str, str]) -> None:
    """What columns may be mapped to. Raises UserError `invalid`."""
    if kind not in ROLES:
        raise UserError("invalid", fields=[{"field": "kind", "message": "one of " + ", ".join(ROLES)}])
    unknown = sorted(set(mapping) - ROLES[kind])
    if unknown:
        known = ", ".join(sorted(ROLES[kind])) or "nothing"
        message = f"{kind} data has no {', '.join(unknown)}: {known} can be mapped."
        raise UserError("invalid", fields=[{"field": "mapping", "message": message}])
    if len(set(mapping.values())) < len(mapping):
        raise UserError("invalid", fields=[{"field": "mapping", "message": "A column can be only one thing."}])


def correct_rows(*, actor: User, dataset: Dataset, changes: list[dict[str, Any]]) -> DatasetVersion:
    """A new version in which the labels of some rows of the newest one are others: [{"row": 17, "label": "spam"}, …].

    Raises UserError `invalid`, `dataset_not_ready`.
    """
    project = dataset.project
    require(actor, project.team_id, "write")
    parent = dataset.latest
    _check_changes(dataset, parent, changes)
    # The file first: a version whose changes are nowhere must not exist.
    version = DatasetVersion(
        id=new_id("dsv"), dataset=dataset, origin=DatasetVersion.Origin.CORRECTION, created_by=actor
    )
    version.source_key = f"{names.version_prefix(project.team_id, version.pk)}/changes.json"
    storage().put_bytes(json.dumps({"changes": changes}).encode(), version.source_key)
    with transaction.atomic():
        # Two corrections at once: the second would undo the first, so it is told to look again.
        locked = Dataset.objects.select_for_update().get(pk=dataset.pk)
        last = locked.versions.aggregate(last=Max("number"))["last"]
        if last != parent.number:
            raise UserError("conflict", "The dataset has a newer version now.")
        version.number = last + 1
        version.parent, version.mapping, version.source_name = parent, parent.mapping, parent.source_name
        version.save(force_insert=True)
        queue_ingest(actor=actor, version=version)
        audit.record(
            actor=actor,
            team=project.team,
            project=project,
            event="dataset.corrected",
            noun=dataset,
            version=version.number,
            rows=len(changes),
        )
    return version


@transaction.atomic
def restore_version(*, actor: User, version: DatasetVersion) -> DatasetVersion:
    """An earlier version once more, as the newest: the same rows, ready at once. What came between stays.

    Raises UserError `dataset_not_ready`, `conflict` for the newest version itself or while another is being made.
    """
    project = version.dataset.project
    require(actor, project.team_id, "write")
    if version.state != State.READY:
        raise UserError("dataset_not_ready")
    dataset = Dataset.objects.select_for_update().get(pk=version.dataset_id)
    newest = dataset.latest
    if newest.pk == version.pk:
        raise UserError("conflict", "This is the newest version already.")
    if newest.state == State.PROCESSING:
        raise UserError("conflict", "A newer version is being made.", hint="Wait until it is ready.")
    restored = DatasetVersion.objects.get(pk=version.pk)
    restored.pk, restored.number = new_id("dsv"), newest.number + 1
    restored.origin, restored.parent, restored.created_by = DatasetVersion.Origin.RESTORED, version, actor
    restored.save(force_insert=True)
    audit.record(
        actor=actor,
        team=project.team,
        project=project,
        event="dataset.restored",
        noun=dataset,
        version=restored.number,
        of=version.number,
    )
    return restored


def _check_changes(dataset: Dataset, parent: DatasetVersion, changes: list[dict[str, Any]]) -> None:
    if not dataset.is_labelled:
        raise UserError("invalid", "Interactions have no labels to correct.")
    if parent.state != State.READY:
        raise UserError("dataset_not_ready")
    rows = [change["row"] for change in changes]
    problem = None
    if not 1 <= len(changes) <= MAX_CHANGES:
        problem = f"from 1 to {MAX_CHANGES} changes"
    elif len(set(rows)) < len(rows):
        problem = "a row is named twice"
    elif not all(0 <= row < parent.rows for row in rows):
        problem = f"rows count from 0 to {parent.rows - 1}"
    if problem:
        raise UserError("invalid", fields=[{"field": "changes", "message": problem}])


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
        errors_key=f"{output}/errors.csv" if "errors.csv" in files else "",
        findings_key=f"{output}/findings.parquet" if "findings.parquet" in files else "",
        data_bytes=int(files["data.parquet"]["bytes"]),
        content_hash=result.content_hash,
        rows=result.rows,
        rejected=result.rejected,
        columns=result.columns,
        mapping=result.mapping or version.mapping,  # a correction keeps its parent's
        classes=result.classes,
        splits=result.splits,
        profile=result.profile,
        issues=result.issues,
        error=None,
    )
    version.refresh_from_db()
    if changed:
        _record_import(job, "dataset.imported", rows=result.rows, rejected=result.rejected)
    return version


@transaction.atomic
def fail_import(*, job: Job, error: ErrorCard) -> DatasetVersion:
    """The import of a job has failed or was cancelled: its version says why."""
    version = job.dataset_version
    processing = DatasetVersion.objects.filter(pk=version.pk, state=State.PROCESSING)
    changed = processing.update(state=State.FAILED, error=error.model_dump())
    version.refresh_from_db()
    if changed:
        _record_import(job, "dataset.import_failed", code=error.code)
    return version


def record_suspects(*, job: Job, result: TrainResult) -> None:
    """A training that looked for wrong labels has succeeded: its version, and no other, knows what it suspects."""
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
