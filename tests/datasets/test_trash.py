"""Datasets are renamed, put into the trash, taken back, and removed after 30 days, but for what models rest on."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.core.local_cache import local_cache
from apps.core.models import AuditEntry
from apps.datasets import actions, browse, trash
from apps.datasets.models import Dataset, DatasetVersion
from apps.training.models import Job
from tests.cast import Cast
from tests.datasets.conftest import ApiOf, Imported, created
from workers.contracts.errors import JobError, UserError
from workers.ingest import index
from workers.ingest.rows import Where


@pytest.fixture
def client(cast: Cast, api_of: ApiOf) -> APIClient:
    return api_of(cast.bob)


@pytest.fixture
def dataset(cast: Cast, imported: Imported) -> Dataset:
    return imported(created(cast.bob, cast.ours.project)).dataset


def address(dataset: Dataset) -> str:
    return f"/api/v1/datasets/{dataset.pk}"


def listed(client: APIClient, **query: str) -> set[str]:
    return {row["id"] for row in client.get("/api/v1/datasets", query).json()["results"]}


def test_a_dataset_is_renamed(client: APIClient, dataset: Dataset) -> None:
    assert client.patch(address(dataset), {"name": " Better films "}).json()["name"] == "Better films"
    assert client.patch(address(dataset), {"name": ""}).status_code == 422
    assert AuditEntry.objects.get(event="dataset.renamed").noun_name == "Better films"


def test_what_is_in_the_trash_is_seen_but_not_listed_and_not_changed(
    client: APIClient, cast: Cast, dataset: Dataset
) -> None:
    assert client.delete(address(dataset)).status_code == 204
    assert client.delete(address(dataset)).status_code == 409
    assert dataset.pk not in listed(client)
    assert dataset.pk in listed(client, trash="true")
    assert client.get(address(dataset)).json()["trashed"]
    assert client.patch(address(dataset), {"name": "x"}).status_code == 409
    assert client.patch(f"{address(dataset)}/rows", {"changes": [{"row": 0, "label": "bad"}]}).status_code == 409
    body = {"project": cast.ours.project.pk, "dataset": dataset.pk, "template": "text-classification"}
    assert client.post("/api/v1/jobs", body).status_code == 409
    assert client.post(f"{address(dataset)}/untrash").json()["trashed"] is None
    assert dataset.pk in listed(client)
    assert client.post(f"{address(dataset)}/untrash").status_code == 409


def expired(dataset: Dataset) -> None:
    Dataset.every.filter(pk=dataset.pk).update(trashed=timezone.now() - timedelta(days=31))


def exists(key: str) -> bool:
    try:
        return storage().size(key) > 0
    except JobError:
        return False


def cached(key: str) -> bool:
    return local_cache().find(key, f"index {index.VERSION}") is not None


def test_after_thirty_days_it_is_gone_with_its_files(
    cast: Cast, dataset: Dataset, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    key = dataset.latest.data_key
    assert browse.page_rows(dataset.latest, Where(q="e")).total, "it was searched, which leaves an index of its texts"
    assert cached(key)
    actions.trash_dataset(actor=cast.bob, dataset=dataset)
    assert trash.remove_trashed() == 0, "it was put there today"
    assert exists(key)
    expired(dataset)
    with django_capture_on_commit_callbacks(execute=True):
        assert trash.remove_trashed() == 1
    assert not Dataset.every.filter(pk=dataset.pk).exists()
    assert not exists(key)
    assert not cached(key)


def test_what_a_model_was_trained_on_stays(
    cast: Cast,
    dataset: Dataset,
    imported: Imported,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    first = dataset.latest
    tried = imported(actions.correct_rows(actor=cast.bob, dataset=dataset, changes=[{"row": 0, "label": "bad"}]))
    unused = imported(actions.correct_rows(actor=cast.bob, dataset=dataset, changes=[{"row": 1, "label": "good"}]))
    restored = actions.restore_version(actor=cast.bob, version=first)
    type(cast.ours.model).objects.filter(pk=cast.ours.model.pk).update(dataset_version=restored)
    Job.objects.filter(pk=cast.ours.job.pk).update(dataset_version=tried)
    actions.trash_dataset(actor=cast.bob, dataset=dataset)
    expired(dataset)
    with django_capture_on_commit_callbacks(execute=True):
        assert trash.remove_trashed() == 1
    assert exists(restored.data_key), "the model's examples come from it"
    assert not exists(tried.data_key)
    assert not exists(unused.data_key)
    assert set(dataset.versions.values_list("pk", flat=True)) == {restored.pk, tried.pk}
    tried.refresh_from_db()
    assert (tried.state, tried.error["code"]) == (DatasetVersion.State.FAILED, "artifact_missing")
    assert Job.objects.filter(pk=cast.ours.job.pk).exists()
    with pytest.raises(UserError, match="conflict"):
        actions.untrash_dataset(actor=cast.bob, dataset=dataset)
    assert trash.remove_trashed() == 0
