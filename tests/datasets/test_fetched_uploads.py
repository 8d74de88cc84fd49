"""An address is fetched by a runner and looked at like a file that was sent; the web process fetches nothing."""

import base64
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from apps.core import redis_client
from apps.core.artifacts import storage
from apps.datasets import actions, sources, tasks, uploads
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.training.specs import build_spec
from tests.cast import Cast
from tests.datasets.conftest import REVIEWS, created
from tests.fetch.far import INSIDE, FarEnd, far_end, ok, policy, unsized
from workers.contracts import names
from workers.contracts.errors import InfraError
from workers.contracts.fetching import FetchState
from workers.runner.attempt import Host
from workers.runner.fetching import fetch_upload
from workers.runner.host import connect
from workers.storage import FolderStorage

Imported = Callable[[DatasetVersion], DatasetVersion]
Captured = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(autouse=True)
def reachable(settings: Settings) -> None:
    """127.0.0.2 stands for the internet."""
    settings.SLIPWAY_IMPORTS = policy()


@pytest.fixture
def client(cast: Cast, client: Client) -> Client:
    client.force_login(cast.bob)
    return client


@pytest.fixture
def far() -> Iterator[FarEnd]:
    with far_end(ok(REVIEWS)) as end:
        yield end


@pytest.fixture
def host(settings: Settings, tmp_path: Path) -> Host:
    """A runner that is done by hand."""
    client = connect(settings.REDIS_URL)
    return Host("runner", "cpu", tmp_path, client, storage(), modules={}, policy=policy())


@pytest.fixture
def ask(client: Client, cast: Cast, django_capture_on_commit_callbacks: Captured) -> Callable[[str], Upload]:
    """Name an address on the page for new data; the upload that comes of it."""

    def work(url: str, page: str = "") -> Upload:
        redis_client.client().delete(names.QUEUE_INGEST)
        with django_capture_on_commit_callbacks(execute=True):
            reply = client.post(page or f"/projects/{cast.ours.project.pk}/datasets/new", {"url": url})
        assert reply.status_code == 303, reply.content.decode()
        return Upload.objects.get(pk=reply["Location"].rpartition("/")[2])

    return work


def sent() -> str:
    """The message that a runner would take."""
    (raw,) = redis_client.client().lrange(names.QUEUE_INGEST, 0, -1)
    task = json.loads(raw)
    assert task["headers"]["task"] == names.TASK_FETCH_UPLOAD
    text: str = json.loads(base64.b64decode(task["body"]))[0][0]
    return text


def look(client: Client, cast: Cast, upload: Upload, **headers: str) -> Any:
    return client.get(f"/projects/{cast.ours.project.pk}/datasets/new/{upload.pk}", headers=headers)


def test_an_address_is_looked_at_before_it_is_imported(
    client: Client, cast: Cast, far: FarEnd, host: Host, ask: Callable[[str], Upload], imported: Imported
) -> None:
    upload = ask(f"{far.url}/data/Films%202024.csv?token=1")
    assert far.asked == [], "not by the web process"
    assert "Waiting for a worker" in look(client, cast, upload).content.decode()
    part = {"HX-Request": "true", "HX-Target": "fetching"}
    assert "<html" not in look(client, cast, upload, **part).content.decode()
    fetch_upload(host, sent())
    assert look(client, cast, upload, **part)["HX-Refresh"] == "true"
    page = look(client, cast, upload).content.decode()
    assert "a good film number 0" in page and "Films 2024" in page and len(far.asked) == 1
    there = set(Dataset.objects.values_list("pk", flat=True))

    form = {"name": "Films of 2024", "kind": "text", "text-text": "text", "text-label": "label"}
    reply = client.post(f"/projects/{cast.ours.project.pk}/datasets/new/{upload.pk}", form)
    assert reply.status_code == 303
    version = imported(Dataset.objects.exclude(pk__in=there).get(name="Films of 2024").latest)
    assert (version.rows, version.source_name, len(far.asked)) == (40, "Films 2024.csv", 1)


def test_rows_are_added_from_an_address_after_a_look(
    client: Client, cast: Cast, host: Host, ask: Callable[..., Upload], imported: Imported
) -> None:
    version = imported(created(cast.bob, cast.ours.project))
    with far_end(ok(b"text,label\none more film,good\n")) as far:
        upload = ask(f"{far.url}/more.csv", f"/datasets/{version.dataset_id}/append")
        address = f"/datasets/{version.dataset_id}/append/{upload.pk}"
        assert "Waiting for a worker" in client.get(address).content.decode()
        fetch_upload(host, sent())
    assert "one more film" in client.get(address).content.decode()
    assert client.post(address).status_code == 303
    assert imported(version.dataset.latest).rows == 41


def test_what_went_wrong_is_shown_and_can_be_tried_again(
    client: Client,
    cast: Cast,
    far: FarEnd,
    host: Host,
    ask: Callable[[str], Upload],
    django_capture_on_commit_callbacks: Captured,
) -> None:
    upload = ask(far.url)
    far.close()
    fetch_upload(host, sent())
    page = look(client, cast, upload).content.decode()
    assert "could not be fetched" in page and "Try again" in page
    redis_client.client().delete(names.QUEUE_INGEST)
    again = client.post(f"/projects/{cast.ours.project.pk}/datasets/new/{upload.pk}", {"again": "1"})
    assert again.status_code == 303 and sent()
    assert "Waiting for a worker" in look(client, cast, upload).content.decode()


def test_a_runner_that_is_not_heard_of_any_more_is_not_waited_for(
    client: Client, cast: Cast, far: FarEnd, ask: Callable[[str], Upload]
) -> None:
    upload = ask(far.url)
    state = FetchState(state="running", time=time.time() - 300, read=5)
    redis_client.client().set(names.fetch_key(upload.pk), state.model_dump_json())
    assert "Try again" in look(client, cast, upload).content.decode()
    redis_client.client().delete(names.fetch_key(upload.pk))
    assert "Try again" in look(client, cast, upload).content.decode()


def test_a_message_that_is_lost_is_sent_again_by_whoever_waits(
    client: Client, cast: Cast, far: FarEnd, ask: Callable[[str], Upload]
) -> None:
    upload = ask(far.url)
    assert "Try again" not in look(client, cast, upload).content.decode()
    redis_client.client().delete(names.QUEUE_INGEST)
    state = FetchState(state="waiting", time=time.time() - 300)
    redis_client.client().set(names.fetch_key(upload.pk), state.model_dump_json())
    assert "Try again" in look(client, cast, upload).content.decode()
    again = client.post(f"/projects/{cast.ours.project.pk}/datasets/new/{upload.pk}", {"again": "1"})
    assert again.status_code == 303 and sent()


def test_what_is_not_here_yet_is_imported_by_nobody(
    client: Client,
    cast: Cast,
    far: FarEnd,
    host: Host,
    ask: Callable[[str], Upload],
    api_of: Callable[..., Any],
    django_capture_on_commit_callbacks: Captured,
) -> None:
    upload = ask(far.url)
    body = {"project": cast.ours.project.pk, "name": "F", "kind": "text", "upload": upload.pk}
    reply = api_of(cast.bob).post("/api/v1/datasets", body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "upload_incomplete")
    with django_capture_on_commit_callbacks(execute=True):
        actions.cancel_upload(actor=cast.bob, upload=upload)
    fetch_upload(host, sent())
    assert far.asked == [], "nobody waits for it any more"


def test_a_team_without_room_is_told(
    client: Client, cast: Cast, far: FarEnd, host: Host, ask: Callable[[str], Upload], settings: Settings
) -> None:
    upload = ask(far.url)
    message = sent()
    settings.SLIPWAY_TEAM_BYTES = 100
    assert uploads.room_of(upload.team) == (100, True)
    fetch_upload(host, message)
    for _ in range(2):
        assert "Try again" in look(client, cast, upload).content.decode()
    assert not storage().exists(upload.key)
    settings.SLIPWAY_TEAM_BYTES = 0
    client.post(f"/projects/{cast.ours.project.pk}/datasets/new/{upload.pk}", {"again": "1"})
    fetch_upload(host, message)
    assert "a good film number 0" in look(client, cast, upload).content.decode()


@pytest.mark.parametrize("known", [True, False])
def test_what_is_larger_than_the_room_that_is_left_is_not_read_to_its_end(
    client: Client, cast: Cast, host: Host, ask: Callable[[str], Upload], settings: Settings, known: bool
) -> None:
    settings.SLIPWAY_TEAM_BYTES = uploads.used_by(cast.ours.project.team) + 100
    large = REVIEWS * 200
    with far_end(ok(large) if known else unsized(large)) as far:
        upload = ask(f"{far.url}/films.csv")
        fetch_upload(host, sent())
    page = look(client, cast, upload).content.decode()
    assert "larger than what is left of the team&#x27;s storage" in page
    assert not storage().exists(upload.key)
    state = FetchState.model_validate_json(redis_client.client().get(names.fetch_key(upload.pk)))
    assert state.read < len(large) and (state.read == 0 or not known)


def test_a_full_disk_is_told_on_the_page(
    client: Client, cast: Cast, far: FarEnd, host: Host, ask: Callable[[str], Upload]
) -> None:
    upload = ask(f"{far.url}/films.csv")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))  # no file may grow beyond: as if the disk were full
    try:
        fetch_upload(host, sent())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    page = look(client, cast, upload).content.decode()
    assert "disk is full" in page and "Try again" in page and not storage().exists(upload.key)


def test_what_was_fetched_and_never_looked_at_takes_room(
    client: Client, cast: Cast, far: FarEnd, host: Host, ask: Callable[[str], Upload]
) -> None:
    upload, used = ask(f"{far.url}/films.csv"), uploads.used_by(cast.ours.project.team)
    fetch_upload(host, sent())
    tasks.forget_uploads()
    assert uploads.used_by(cast.ours.project.team) == used + len(REVIEWS)
    assert "a good film number 0" in look(client, cast, upload).content.decode()


def test_what_an_import_fetches_by_itself_takes_room_too(
    cast: Cast, far: FarEnd, imported: Imported, settings: Settings, django_capture_on_commit_callbacks: Captured
) -> None:
    used = uploads.used_by(cast.ours.project.team)
    found = sources.of_url(cast.ours.project.team, f"{far.url}/films.csv")
    version = actions.create_dataset(
        actor=cast.bob, project=cast.ours.project, name="Films", kind="text", sources=found
    )
    with django_capture_on_commit_callbacks(execute=True):
        version = imported(version)
    assert uploads.used_by(cast.ours.project.team) == used + len(REVIEWS) + version.data_bytes
    settings.SLIPWAY_TEAM_BYTES = uploads.used_by(cast.ours.project.team) + 1
    assert build_spec(version.jobs.get()).inputs[0].max_bytes == 1


def test_what_an_import_fetches_takes_room_once_whoever_counts_it(
    cast: Cast, far: FarEnd, imported: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sources.of_url(cast.ours.project.team, f"{far.url}/films.csv")
    version = imported(
        actions.create_dataset(actor=cast.bob, project=cast.ours.project, name="Films", kind="text", sources=found)
    )
    assert not Upload.objects.exists()
    ask = FolderStorage.size

    def meanwhile(store: FolderStorage, key: str) -> int:
        monkeypatch.setattr(FolderStorage, "size", ask)
        uploads.count_fetched(version)  # by another process
        return ask(store, key)

    monkeypatch.setattr(FolderStorage, "size", meanwhile)
    uploads.count_fetched(version)
    assert Upload.objects.get().size == len(REVIEWS)


def test_a_fetch_that_cannot_be_looked_at_holds_up_no_other(
    cast: Cast, far: FarEnd, host: Host, ask: Callable[[str], Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = ask(f"{far.url}/a.csv")
    fetch_upload(host, sent())
    other = ask(f"{far.url}/b.csv")
    fetch_upload(host, sent())
    finish = uploads.finish_fetched

    def finish_or_fail(upload: Upload, size: int) -> None:
        if upload.pk == stuck.pk:
            raise InfraError("storage_unavailable")
        finish(upload, size)

    monkeypatch.setattr(uploads, "finish_fetched", finish_or_fail)
    tasks.forget_uploads()
    other.refresh_from_db()
    assert other.finished


def test_an_import_is_not_lost_because_the_store_cannot_tell_what_it_fetched(
    cast: Cast,
    far: FarEnd,
    imported: Imported,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Captured,
) -> None:
    used = uploads.used_by(cast.ours.project.team)
    found = sources.of_url(cast.ours.project.team, f"{far.url}/films.csv")
    version = actions.create_dataset(
        actor=cast.bob, project=cast.ours.project, name="Films", kind="text", sources=found
    )

    def away() -> None:
        raise InfraError("storage_unavailable")

    with monkeypatch.context() as patched, django_capture_on_commit_callbacks(execute=True):
        patched.setattr(uploads, "storage", away)
        version = imported(version)
    assert version.state == DatasetVersion.State.READY
    tasks.forget_uploads()
    assert uploads.used_by(cast.ours.project.team) == used + len(REVIEWS) + version.data_bytes


def test_the_control_api_has_a_look_before_the_import_too(
    cast: Cast,
    far: FarEnd,
    host: Host,
    api_of: Callable[..., APIClient],
    imported: Imported,
    django_capture_on_commit_callbacks: Captured,
) -> None:
    api = api_of(cast.bob)
    redis_client.client().delete(names.QUEUE_INGEST)
    with django_capture_on_commit_callbacks(execute=True):
        asked = {"project": cast.ours.project.pk, "url": f"{far.url}/films.csv"}
        reply = api.post("/api/v1/uploads/fetch", asked, format="json")
    assert (reply.status_code, reply.json()["state"]) == (202, "waiting")
    address = f"/api/v1/uploads/{reply.json()['id']}"
    assert api.get(f"{address}/fetch").json()["state"] == "waiting"
    assert api.get(f"{address}/preview").json()["error"]["code"] == "upload_incomplete"
    fetch_upload(host, sent())
    done = api.get(f"{address}/fetch").json()
    assert (done["state"], done["size"], done["error"]) == ("done", len(REVIEWS), None)
    assert api.get(f"{address}/preview").json()["rows"][0] == ["a good film number 0", "good"]
    body = {"project": cast.ours.project.pk, "name": "Films", "kind": "text", "upload": reply.json()["id"]}
    made = api.post("/api/v1/datasets", body, format="json").json()
    assert imported(Dataset.objects.get(pk=made["id"]).latest).rows == 40

    with django_capture_on_commit_callbacks(execute=True):
        failing = api.post("/api/v1/uploads/fetch", {**asked, "url": f"{far.url}/gone.csv"}, format="json").json()
    far.close()
    redis_client.client().ltrim(names.QUEUE_INGEST, 0, 0)
    fetch_upload(host, sent())
    address = f"/api/v1/uploads/{failing['id']}/fetch"
    failed = api.get(address).json()
    assert (failed["state"], failed["error"]["code"]) == ("failed", "url_unreachable")
    assert (api.post(address).status_code, api.get(address).json()["state"]) == (202, "waiting")


@pytest.mark.parametrize("url", [f"http://{INSIDE}/", "http://localhost/a.csv", "s3://bucket/key", "x"])
def test_addresses_that_may_not_be_named_are_refused_at_once(client: Client, cast: Cast, url: str) -> None:
    reply = client.post(f"/projects/{cast.ours.project.pk}/datasets/new", {"url": url})
    assert reply.status_code == 422 and not Upload.objects.exists()
