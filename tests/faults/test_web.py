"""The web process while Postgres, Redis or its disk fail. Nothing that was acknowledged is lost, and nobody hangs."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx
import pytest
from pytest_django.fixtures import Settings

from apps.core.artifacts import storage
from apps.datasets.models import Upload
from apps.training.models import Job
from tests.cast import Cast, make_token
from tests.faults.edge import Edge, edge
from tests.faults.web import Web, database_url, full_disk, web
from tests.serving.running import until

pytestmark = pytest.mark.django_db(transaction=True)

TUS: Final = {"Tus-Resumable": "1.0.0"}
DATA: Final = bytes(range(256)) * 16_384
# What a person would call hanging.
HANGING_S: Final = 20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SLIPWAY_HOME of the web process."""
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="module")
def edges(django_db_setup: None, redis_server: str) -> Iterator[tuple[Edge, Edge]]:
    with edge(database_url()) as database, edge(redis_server) as redis:
        yield database, redis


@pytest.fixture(scope="module")
def process(edges: tuple[Edge, Edge], home: Path) -> Iterator[Web]:
    """One web process for all tests: after each fault it has to be as good as before."""
    with web(home, *edges) as started:
        yield started


@pytest.fixture
def token(cast: Cast, home: Path, settings: Settings) -> str:
    settings.SLIPWAY_STORAGE = str(home / "storage")
    return make_token(cast.alice)


@pytest.fixture
def running(process: Web, token: str) -> Web:
    return process.known_by(token)


def begin(running: Web) -> str:
    reply = running.client.post("/api/v1/uploads", headers={**TUS, "Upload-Length": str(len(DATA))})
    assert reply.status_code == 201, reply.text
    return reply.headers["Location"]


def patch(running: Web, address: str, offset: int, end: int = len(DATA)) -> httpx.Response:
    headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return running.client.patch(address, content=DATA[offset:end], headers=headers)


def offset_of(running: Web, address: str) -> int:
    return int(running.client.head(address, headers=TUS).headers["Upload-Offset"])


def check_unavailable(reply: httpx.Response) -> None:
    """S2: an answer that says what is wrong and when to come again."""
    assert reply.status_code == 503, reply.text
    assert int(reply.headers["Retry-After"]) > 0
    if reply.request.method != "HEAD":
        assert reply.json()["error"]["request_id"] == reply.headers["X-Request-Id"]


def check_upload(running: Web, address: str) -> None:
    """D1: what was acknowledged is there, the rest can be sent, and the file is the one that was sent."""
    assert patch(running, address, offset_of(running, address)).status_code == 204
    (upload,) = Upload.objects.filter(pk=address.rsplit("/", 1)[1])
    assert upload.finished
    assert hashlib.sha256(storage().read_bytes(upload.key)).digest() == hashlib.sha256(DATA).digest()


def test_without_postgres_all_is_refused_in_words_and_uploads_stay(running: Web) -> None:
    address = begin(running)
    assert patch(running, address, 0, 1_000_000).status_code == 204
    running.database.become("refused")
    for reply in (running.client.get("/api/v1/me"), patch(running, address, 1_000_000)):
        check_unavailable(reply)
        assert reply.elapsed.total_seconds() < HANGING_S
    assert running.client.get("/healthz").status_code == 200
    running.database.become("open")
    until(lambda: running.client.get("/api/v1/me").status_code == 200)
    assert offset_of(running, address) == 1_000_000
    check_upload(running, address)


def test_a_postgres_that_falls_silent_hangs_nobody_who_was_being_served(running: Web) -> None:
    """It takes what is sent, and answers nothing: also to those who hold a connection already."""
    address = begin(running)
    headers = running.client.headers

    def ask(_: int) -> httpx.Response:
        return httpx.get(f"{running.client.base_url}/api/v1/me", headers=headers, timeout=60, trust_env=False)

    with ThreadPoolExecutor(4) as pool:
        assert {reply.status_code for reply in pool.map(ask, range(8))} == {200}
        running.database.become("silent")
        replies = [*pool.map(ask, range(4)), patch(running, address, 0)]
    running.database.become("open")
    for reply in replies:
        check_unavailable(reply)
        assert reply.elapsed.total_seconds() < HANGING_S
    until(lambda: running.client.get("/api/v1/me").status_code == 200)
    check_upload(running, address)


@pytest.mark.parametrize("mode", ["refused", "silent"])
def test_without_redis_what_is_asked_for_is_kept_and_nobody_hangs(running: Web, cast: Cast, mode: str) -> None:
    training = {"project": cast.ours.project.pk, "dataset": cast.ours.dataset.pk, "template": "text-classification"}
    assert running.client.get("/accounts/login/").status_code == 200  # what is made once is made
    running.redis.become(mode)
    reply = running.client.post("/api/v1/jobs", json=training)
    assert reply.status_code == 202, reply.text
    assert reply.elapsed.total_seconds() < HANGING_S
    assert Job.objects.get(pk=reply.json()["id"]).state == Job.State.QUEUED
    if mode == "refused":
        check_unavailable(running.client.delete(f"/api/v1/keys/{cast.ours.key.pk}"))
    running.redis.become("open")
    assert running.client.delete(f"/api/v1/keys/{cast.ours.key.pk}").status_code == 204


def test_a_full_disk_refuses_in_words_and_the_upload_goes_on_later(running: Web) -> None:
    address = begin(running)
    with full_disk(running.process, room=1_500_000):
        assert patch(running, address, 0, 1_000_000).status_code == 204
        for end in (2_000_000, len(DATA)):  # the second does not even fit where bodies are gathered
            reply = patch(running, address, offset_of(running, address), end)
            assert reply.status_code == 507 and reply.json()["error"]["code"] == "disk_full", reply.text
            assert reply.json()["error"]["request_id"]
            assert 1_000_000 <= offset_of(running, address) <= 1_500_000
    check_upload(running, address)


def test_a_slow_database_delays_and_refuses_nobody(running: Web) -> None:
    running.database.delay_s = 0.2  # on every message there and back
    asked = time.monotonic()
    assert running.client.get("/api/v1/me").status_code == 200
    assert time.monotonic() - asked < HANGING_S
