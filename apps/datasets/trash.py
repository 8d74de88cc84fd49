"""Datasets get other names, go into the trash, come back out of it, and are gone for good 30 days later."""

from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.core import audit
from apps.core.artifacts import storage
from apps.core.local_cache import local_cache
from apps.core.sweeping import sweep
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.teams.access import require
from apps.teams.models import User
from workers.contracts.errors import JobError, UserError

KEPT: Final = timedelta(days=30)
_FILES: Final = ("data_key", "errors_key", "findings_key", "looks_key", "suspects_key", "lineage_key")


@transaction.atomic
def rename_dataset(*, actor: User, dataset: Dataset, name: str) -> Dataset:
    """Give a dataset another name. Models and endpoints keep the name that they were trained under."""
    require(actor, dataset.project.team_id, "write")
    dataset.name = name.strip()
    dataset.save(update_fields=["name"])
    _record(actor, dataset, "dataset.renamed")
    return dataset


@transaction.atomic
def trash_dataset(*, actor: User, dataset: Dataset) -> Dataset:
    """Put a dataset into the trash. What was trained from it stays, and its jobs go on.

    Raises UserError `conflict` where it is there already.
    """
    require(actor, dataset.project.team_id, "write")
    return _set_trashed(actor, dataset, "dataset.trashed", trashed=True)


@transaction.atomic
def untrash_dataset(*, actor: User, dataset: Dataset) -> Dataset:
    """Take a dataset out of the trash. Raises UserError `conflict` where it is not there, or its data is gone."""
    require(actor, dataset.project.team_id, "write")
    return _set_trashed(actor, dataset, "dataset.untrashed", trashed=False)


def _set_trashed(actor: User, dataset: Dataset, event: str, *, trashed: bool) -> Dataset:
    moment = timezone.now() if trashed else None
    there = Dataset.every.filter(pk=dataset.pk, trashed__isnull=trashed, removed=None)
    if not there.update(trashed=moment):
        raise UserError("conflict", "It is in the trash already." if trashed else "It is not in the trash.")
    dataset.trashed = moment
    _record(actor, dataset, event)
    return dataset


def _record(actor: User | None, dataset: Dataset, event: str) -> None:
    project = dataset.project
    audit.record(actor=actor, team=project.team, project=project, event=event, noun=dataset)


def remove_trashed() -> int:
    """Remove what has been in the trash for 30 days; how many datasets that were.

    First it is marked, so that nobody takes it back; then its files go, then its rows. Whoever is killed in between, or
    finds the store away, leaves the rest to the next time.
    """
    due = Dataset.every.filter(trashed__lt=timezone.now() - KEPT, removed=None)
    for dataset in due.select_related("project__team"):
        _mark(dataset)
    return sweep(Dataset.every.filter(_still_there()).distinct(), _remove, "dataset_not_removed")


@transaction.atomic
def _mark(dataset: Dataset) -> None:
    """Unless somebody has just taken it back, or another process was quicker."""
    found = Dataset.every.filter(pk=dataset.pk, trashed__lt=timezone.now() - KEPT, removed=None)
    if found.update(removed=timezone.now()):
        _record(None, dataset, "dataset.removed")


def _still_there() -> Q:
    """Datasets that are marked, and of which more is left than what models were trained on and entries without data."""
    tried = DatasetVersion.objects.filter(jobs__kind__in=("train", "batch"))
    left = DatasetVersion.objects.filter(model_versions=None).exclude(**dict.fromkeys(_FILES, ""), pk__in=tried)
    return Q(removed__isnull=False) & (Q(versions__in=left) | Q(versions=None))


def _remove(dataset: Dataset) -> None:
    """Delete a dataset with its files, but for versions that a model was trained on: those are part of the model's
    record, and its examples come from them. Versions that something else was tried on stay as entries without data."""
    versions = list(dataset.versions.all())
    learned = {version.pk for version in versions if version.model_versions.exists()}
    # A restored version has the files of the one that it restores.
    needed = {getattr(version, name) for version in versions if version.pk in learned for name in _FILES}
    files = {getattr(version, name) for version in versions for name in _FILES} - needed - {""}
    files |= {version.source_key for version in versions if version.origin == DatasetVersion.Origin.CORRECTION}
    # What was uploaded expires; what was fetched is nobody else's.
    fetched = {source["key"] for version in versions for source in version.sources if source["url"]}
    for key in sorted(files | fetched):
        storage().delete(key)
        local_cache().forget(key)
    Upload.objects.filter(key__in=fetched).delete()
    _forget([version for version in versions if version.pk not in learned])
    Dataset.every.filter(pk=dataset.pk, versions=None).delete()


@transaction.atomic
def _forget(versions: list[DatasetVersion]) -> None:
    gone = JobError("artifact_missing", "The dataset was in the trash for 30 days, and its data is removed.").card()
    for version in versions:
        if version.jobs.exclude(kind="ingest").exists():
            blank = dict.fromkeys(_FILES, "")
            DatasetVersion.objects.filter(pk=version.pk).update(
                **blank, state=DatasetVersion.State.FAILED, error=gone.model_dump()
            )
        else:
            version.delete()
