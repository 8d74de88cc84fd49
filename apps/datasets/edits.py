"""New versions out of earlier ones: corrected, repaired, added to, restored."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any, Final

from django.db import transaction
from django.db.models import Max

from apps.core import audit
from apps.core.artifacts import storage
from apps.core.ids import new_id
from apps.core.throttle import throttled
from apps.datasets.models import Dataset, DatasetVersion
from apps.datasets.sources import Source, fields
from apps.datasets.uploads import check_room
from apps.teams.access import require
from apps.teams.models import User
from apps.training.actions import queue_ingest
from workers.contracts import names
from workers.contracts.errors import CATALOGUE, UserError
from workers.contracts.job import GUESSED, FileOptions
from workers.ingest.repair_preview import Preview, preview
from workers.ingest.repairs import Repair, repairs_of
from workers.ingest.version import Version, count_suspects

MAX_CHANGES: Final = 10_000
MAX_LABEL_CHARS: Final = 200

Origin, State = DatasetVersion.Origin, DatasetVersion.State


def correct_rows(
    *, actor: User, dataset: Dataset, changes: list[dict[str, Any]], base: int | None = None
) -> DatasetVersion:
    """A new version in which some rows of the newest one have another label (or labels, where they have
    several), text or split, or are gone: [{"row": 17, "label": "spam"}, {"row": 18, "drop": true}, …].

    `base`: the number of the version whose rows these are, where the caller knows. Raises UserError `invalid`,
    `dataset_not_ready`, `conflict` where the newest is another.
    """
    require(actor, dataset.project.team_id, "write")
    parent = dataset.latest
    if base is not None and base != parent.number:
        raise UserError("conflict", "The dataset has a newer version now, in which rows may have other numbers.")
    _check_changes(dataset, parent, changes)
    # The file first: a version whose changes are nowhere must not exist.
    version = _child(actor, parent, Origin.CORRECTION)
    version.source_key = f"{names.version_prefix(dataset.project.team_id, version.pk)}/changes.json"
    storage().put_bytes(json.dumps({"changes": changes}).encode(), version.source_key)
    with transaction.atomic():
        return _queued(actor, version, "dataset.corrected", rows=len(changes))


def repair_version(*, actor: User, dataset: Dataset, code: str, name: str = "") -> DatasetVersion:
    """A new version of the newest one without what the data doctor found there under `code`.

    `name`: which of several repairs; the usual one without it. Raises UserError `invalid`, `dataset_not_ready`,
    `conflict`.
    """
    require(actor, dataset.project.team_id, "write")
    parent = dataset.latest
    if parent.state != State.READY:
        raise UserError("dataset_not_ready")
    repair = repair_for(parent, code, name)
    version = _child(actor, parent, Origin.REPAIR)
    version.source_key, version.repair = parent.source_key, repair.name
    with transaction.atomic():
        return _queued(actor, version, "dataset.repaired", repair=repair.name)


@throttled("dataset")
def append_files(
    *, actor: User, dataset: Dataset, sources: list[Source], options: FileOptions = GUESSED
) -> DatasetVersion:
    """A new version with the rows of the newest one and, after them, those of files of the same columns.

    Raises UserError `invalid`, `dataset_not_ready`, `conflict`.
    """
    require(actor, dataset.project.team_id, "write")
    parent = dataset.latest
    if parent.state != State.READY:
        raise UserError("dataset_not_ready")
    version = _child(actor, parent, Origin.APPEND)
    for name, value in fields(sources).items():
        setattr(version, name, value)
    version.options = options.model_dump(exclude_defaults=True)
    with transaction.atomic():
        return _queued(actor, version, "dataset.appended", bytes=sum(one.bytes for one in sources))


def repair_for(version: DatasetVersion, code: str, name: str = "") -> Repair:
    """The repair of a finding that a version has. Raises UserError `invalid`."""
    found = repairs_for(version).get(code, [])
    wanted = next((repair for repair in found if name in ("", repair.name)), None)
    if wanted is None:
        known = ", ".join(repair.name for repair in found)
        message = f"one of {known}" if known else "Nothing was found here that can be repaired under this code."
        raise UserError("invalid", fields=[{"field": "repair" if found else "code", "message": message}])
    return wanted


def issues(version: DatasetVersion) -> list[dict[str, Any]]:
    """What the data doctor found at the import, and the labels that look wrong to a model that was trained since."""
    found: list[dict[str, Any]] = list(version.issues)
    if version.suspects_key and (suspected := _suspected(version.suspects_key)):
        card = CATALOGUE["label_suspect"]
        more = {"message": card.message, "repair": card.hint, "examples": []}
        found.append({"code": "label_suspect", "severity": "warning", "count": suspected, **more})
    return found


@lru_cache(maxsize=1024)
def _suspected(key: str) -> int:
    """How many labels a suspects.parquet doubts; what is in storage under a key never changes."""
    with storage().open(key) as suspects:
        return count_suspects(suspects)


def repairs_for(version: DatasetVersion) -> dict[str, list[Repair]]:
    """What can be done about the findings of a version, by their codes; nothing where it failed."""
    if version.state == DatasetVersion.State.FAILED:
        return {}
    codes = [issue["code"] for issue in issues(version)]
    return {code: found for code in codes if (found := repairs_of(code))}


def preview_repair(version: DatasetVersion, repair: Repair) -> Preview:
    """What a repair would do. Raises UserError `dataset_not_ready`."""
    with opened(version) as data:
        return preview(data, repair)


@contextmanager
def opened(version: DatasetVersion) -> Iterator[Version]:
    """The rows of a version to compute with. Raises UserError `dataset_not_ready`."""
    if version.state != State.READY:
        raise UserError("dataset_not_ready")
    with ExitStack() as stack:
        keys = (version.data_key, version.findings_key, version.suspects_key)
        data, *beside = (stack.enter_context(storage().open(key)) if key else None for key in keys)
        assert data is not None
        yield stack.enter_context(Version(data, *beside))


@transaction.atomic
def restore_version(*, actor: User, version: DatasetVersion) -> DatasetVersion:
    """An earlier version once more, as the newest: the same rows, ready at once. What came between stays.

    Raises UserError `dataset_not_ready`, `conflict` for the newest version itself or while another is being made.
    """
    project = version.dataset.project
    require(actor, project.team_id, "write")
    if version.state != State.READY:
        raise UserError("dataset_not_ready")
    dataset = Dataset.every.select_for_update().get(pk=version.dataset_id)
    newest = dataset.latest
    if newest.pk == version.pk:
        raise UserError("conflict", "This is the newest version already.")
    if newest.state == State.PROCESSING:
        raise UserError("conflict", "A newer version is being made.", hint="Wait until it is ready.")
    restored = DatasetVersion.objects.get(pk=version.pk)
    restored.pk, restored.number = new_id("dsv"), _next_number(dataset)
    restored.origin, restored.parent, restored.created_by = Origin.RESTORED, version, actor
    restored.lineage_key = ""
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


def _child(actor: User, parent: DatasetVersion, origin: str) -> DatasetVersion:
    return DatasetVersion(
        id=new_id("dsv"),
        dataset=parent.dataset,
        origin=origin,
        parent=parent,
        mapping=parent.mapping,
        source_name=parent.source_name,
        created_by=actor,
    )


def _queued(actor: User, version: DatasetVersion, event: str, **data: Any) -> DatasetVersion:
    """Number and queue an edited version. Two at once: the second would undo the first, so it is told to look again."""
    dataset = Dataset.every.select_for_update().get(pk=version.dataset_id)
    parent = dataset.latest
    if parent.pk != version.parent_id:
        raise UserError("conflict", "The dataset has a newer version now.")
    check_room(dataset.project.team, parent.data_bytes)
    version.number = _next_number(dataset)
    version.save(force_insert=True)
    queue_ingest(actor=actor, version=version)
    project = dataset.project
    audit.record(
        actor=actor, team=project.team, project=project, event=event, noun=dataset, version=version.number, **data
    )
    return version


def _next_number(dataset: Dataset) -> int:
    return int(dataset.versions.aggregate(last=Max("number"))["last"]) + 1


def _check_changes(dataset: Dataset, parent: DatasetVersion, changes: list[dict[str, Any]]) -> None:
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
    elif not dataset.is_labelled and any("label" in change for change in changes):
        problem = "Interactions have no labels to correct."
    elif not parent.is_multi_label and any("labels" in change for change in changes):
        problem = "The rows of this dataset have one label each: send `label`."
    elif dataset.kind != "text" and any("text" in change for change in changes):
        problem = "Only datasets of texts have texts to correct."
    elif "text_pair" not in parent.mapping and any("text_pair" in change for change in changes):
        problem = "Only datasets of pairs of texts have second texts to correct."
    if problem:
        raise UserError("invalid", fields=[{"field": "changes", "message": problem}])
