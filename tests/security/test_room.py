"""What a team may keep is kept to, however many ask at once and by whatever way data comes."""

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.datasets import actions, sources, trash
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.datasets.sources import Source
from apps.predictions.models import Prediction
from apps.projects.models import Project
from tests.cast import Cast, make_job, make_version
from tests.teams.test_races import at_once
from workers.contracts.errors import UserError


@pytest.fixture(autouse=True)
def room(settings: Settings) -> None:
    settings.SLIPWAY_TEAM_BYTES = 100


def store(cast: Cast, size: int = 60) -> Upload:
    """A file of some bytes in one piece."""
    return actions.store_upload(
        actor=cast.bob, team=cast.ours.team, filename="a.csv", stream=io.BytesIO(b"x" * size), size=size
    )


def begin(cast: Cast) -> Upload:
    """A file that is to come in pieces."""
    return actions.begin_upload(actor=cast.bob, team=cast.ours.team, filename="a.csv", size=60)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("take", [store, begin])
def test_of_many_at_once_as_many_pass_as_fit(
    transactional_db: None, cast: Cast, take: Callable[[Cast], Upload]
) -> None:
    assert at_once(*[lambda: take(cast)] * 8) == ["done", *["storage_full"] * 7]
    assert Upload.objects.filter(team=cast.ours.team).count() == 1


@pytest.mark.django_db
def test_a_file_that_cannot_be_stored_takes_no_room(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no such bucket")

    with monkeypatch.context() as broken:
        broken.setattr(type(storage()), "put_file", fail)
        with pytest.raises(OSError, match="bucket"):
            store(cast)
    assert store(cast).finished


@pytest.mark.django_db
def test_files_of_predictions_and_their_answers_take_room_until_they_are_forgotten(cast: Cast) -> None:
    asked = Prediction.objects.create(
        project=cast.ours.project,
        job=make_job(cast.ours.version, name="a.csv"),
        model=cast.ours.model,
        source_bytes=20,
        result_bytes=30,
    )
    with pytest.raises(UserError, match="storage_full"):
        store(cast)
    Prediction.objects.filter(pk=asked.pk).update(forgotten=asked.created)
    assert store(cast).finished


@pytest.mark.django_db
def test_data_from_addresses_and_new_versions_take_room_too(cast: Cast, redis_url: str) -> None:
    DatasetVersion.objects.filter(pk=cast.ours.version.pk).update(data_bytes=51)
    dataset, project = cast.ours.dataset, cast.ours.project
    with pytest.raises(UserError, match="storage_full"):
        actions.correct_rows(actor=cast.bob, dataset=dataset, changes=[{"row": 1, "label": "new"}])
    with pytest.raises(UserError, match="storage_full"):
        actions.append_files(actor=cast.bob, dataset=dataset, sources=[Source("a", "a.csv", "https://example.com/a")])
    DatasetVersion.objects.filter(pk=cast.ours.version.pk).update(data_bytes=101)
    found = sources.of_url(project.team, "https://example.com/a.csv")
    with pytest.raises(UserError, match="storage_full"):
        actions.create_dataset(actor=cast.bob, project=project, name="a", kind="text", sources=found)


@pytest.mark.django_db
def test_the_same_file_takes_room_once_and_a_removed_one_none(cast: Cast, redis_url: str) -> None:
    DatasetVersion.objects.filter(pk=cast.ours.version.pk).update(data_bytes=40)
    later = make_version(cast.ours.dataset)
    restored = actions.restore_version(actor=cast.bob, version=cast.ours.version)
    assert restored.data_bytes == 40
    assert store(cast, 60).finished, "the restored version has the file of the first"
    # Left in the trash, its data is removed, but for what a model was trained on; a job still names the later version.
    DatasetVersion.objects.filter(pk=later.pk).update(data_bytes=40)
    make_job(later, name="Tried")
    with pytest.raises(UserError, match="storage_full"):
        store(cast, 0)
    trash.trash_dataset(actor=cast.bob, dataset=cast.ours.dataset)
    long_ago = timezone.now() - trash.KEPT - timedelta(days=1)
    Dataset.every.filter(pk=cast.ours.dataset.pk).update(trashed=long_ago)
    assert trash.remove_trashed() == 1
    assert store(cast, 0).finished


@pytest.mark.django_db
def test_a_file_that_is_refused_whatever_is_in_it_is_not_kept(
    cast: Cast, api_of: Callable[..., APIClient], redis_url: str
) -> None:
    ours, client = cast.ours, api_of(cast.bob)

    def send(address: str, **fields: str) -> str:
        file = SimpleUploadedFile("a.csv", b"text,label\ngood,yes\n")
        reply = client.post(f"/api/v1/{address}", {"file": file, **fields}, format="multipart")
        return str(reply.json()["error"]["code"])

    DatasetVersion.objects.filter(pk=ours.version.pk).update(state="processing")
    Project.objects.filter(pk=ours.project.pk).update(archived=timezone.now())
    assert send("datasets", project=ours.project.pk, name="a", kind="text") == "conflict"
    assert send(f"datasets/{ours.dataset.pk}/append") == "dataset_not_ready"
    assert send("predictions", model=ours.model.pk) == "conflict"
    assert not Upload.objects.exists()
