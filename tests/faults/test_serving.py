"""The prediction API is stopped and woken, or its Redis fails: nobody gets in who may not, all is counted."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.faults import checkers
from tests.faults.edge import edge
from tests.faults.web import full_disk
from tests.serving.clients import asking
from tests.serving.conftest import Stage, staged
from tests.serving.recording import caught_up, recording
from tests.serving.running import own_server, until
from tests.serving.test_metrics import scrape, value
from workers.contracts import keys, names
from workers.contracts.snapshot import ServingStatus
from workers.serving import spool

pytestmark = pytest.mark.django_db(transaction=True)

DROPPED = 40


@contextlib.contextmanager
def stopped(stage: Stage) -> Iterator[None]:
    """The serving process does nothing while the block runs."""
    stage.serving.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        stage.serving.process.send_signal(signal.SIGCONT)


def delivered(stage: Stage) -> bool:
    """Whether no record waits on disk."""
    folder = stage.serving.log.parent / "spool"
    waiting = any(path.stat().st_size for path in spool.files(folder))
    return not waiting and value(scrape(stage.serving.url), "slipway_spool_bytes") == 0


def said_of(stage: Stage, revision: str) -> str:
    """What the serving process says of a revision."""
    client = stage.control.client
    found = [client.get(names.serving_key(name)) for name in map(bytes.decode, client.smembers(names.SERVERS))]
    told = [ServingStatus.model_validate_json(text).revisions.get(revision, "") for text in found if text]
    return next(iter(told), "")


def test_a_process_that_was_stopped_looks_who_may_ask_before_it_answers(own_stage: Stage) -> None:
    """K1: the key was revoked while it could not hear."""
    control, key = own_stage.control, own_stage.control.add_key()
    control.publish()
    assert own_stage.predict(["good film"], key=key).status_code == 200
    clients = [httpx.Client(base_url=own_stage.serving.url, timeout=20, trust_env=False) for _ in range(8)]
    for client in clients:  # connections that are open already: their requests are what it wakes up to
        assert client.get("/healthz").status_code == 200

    def ask(client: httpx.Client) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return client.post("/v1/endpoints/reviews/predict", json={"inputs": ["good"]}, headers=headers).status_code

    with ThreadPoolExecutor(len(clients)) as pool:
        with stopped(own_stage):
            del control.keys[keys.digest(key)]
            control.publish()
            revoked = time.monotonic()
            until(lambda: time.monotonic() > revoked + 1.1)
            asked = threading.Barrier(len(clients) + 1)
            answers = [pool.submit(lambda client=client: (asked.wait(), ask(client))[1]) for client in clients]
            asked.wait()
            began = time.monotonic()
            until(lambda: time.monotonic() > began + 0.3)  # all of them have been sent
        assert {answer.result() for answer in answers} == {401}
    for client in clients:
        client.close()


def test_a_redis_that_is_full_costs_no_answer_and_no_record(tmp_path: Path, bundle_folder: Path) -> None:
    with own_server(tmp_path / "redis-home", "redis") as own, staged(tmp_path, own.url, bundle_folder) as stage:
        redis = stage.control.client
        with asking(stage.serving.port, "reviews", stage.key, clients=4) as seen:
            until(lambda: len(seen.answers) > 100)
            redis.config_set("maxmemory", 1)
            assert redis.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
            count = len(seen.answers)
            until(lambda: len(seen.answers) > count + 200)
            assert redis.exists(names.SNAPSHOT)  # nothing is evicted
            redis.config_set("maxmemory", 0)
            until(lambda: delivered(stage))
        with recording(own.url, tmp_path / "log"):
            until(lambda: caught_up(redis), 60)
    checkers.check_answers(seen)
    checkers.check_ledger(seen.answers)
    checkers.check_sums()


def drop(stage: Stage, count: int) -> None:
    """Ask so often, and hang up without waiting for the answer."""
    body = b'{"inputs": ["bad film"]}'
    head = f"POST /v1/endpoints/reviews/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {stage.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", stage.serving.port)) as client:
            client.sendall(head.encode() + body)


def test_a_redis_that_is_silent_or_gone_for_one_process_costs_no_answer(
    tmp_path: Path, bundle_folder: Path, redis_server: str
) -> None:
    with edge(redis_server) as link, staged(tmp_path, redis_server, bundle_folder, REDIS_URL=link.url) as stage:
        with asking(stage.serving.port, "reviews", stage.key, clients=4) as seen:
            until(lambda: len(seen.answers) > 100)
            for mode in ("silent", "refused"):
                link.become(mode)  # type: ignore[arg-type]  # one of its modes
                until(lambda: value(scrape(stage.serving.url), "slipway_spool_bytes") > 0)
                count = len(seen.answers)
                until(lambda count=count: len(seen.answers) > count + 100)
                link.become("open")
                until(lambda: delivered(stage))
            link.delay_s = 0.05  # so that those who hang up leave something under way
            count = len(seen.answers)
            drop(stage, DROPPED)
            until(lambda: len(seen.answers) > count + 50)
            link.delay_s = 0.0
            link.cut()
        with recording(redis_server, tmp_path / "log"):
            until(lambda: delivered(stage) and caught_up(stage.control.client), 60)
    checkers.check_answers(seen)
    checkers.check_ledger(seen.answers, broken=DROPPED)
    checkers.check_sums()


def test_a_model_that_does_not_fit_on_the_disk_leaves_the_old_one_answering(
    own_stage: Stage, bundle_folder: Path
) -> None:
    """P3. Once there is room, it answers without anybody's doing."""
    control = own_stage.control
    second = control.revision(bundle_folder / "flipped.zip", number=2)
    with full_disk(own_stage.serving.process, room=1000):
        (first,) = own_stage.text.revisions
        control.replace(own_stage.text, revisions=[first.model_copy(update={"traffic": 0}), second])
        control.publish()
        until(lambda: said_of(own_stage, second.revision).startswith("failed"))
        assert own_stage.predict(["good film"]).json()["model"]["number"] == 1
    until(lambda: own_stage.predict(["good film"]).json()["model"]["number"] == 2, 30)


@pytest.fixture
def own_stage(tmp_path: Path, redis_server: str, bundle_folder: Path) -> Iterator[Stage]:
    """A process for one test."""
    with staged(tmp_path, redis_server, bundle_folder) as running:
        yield running
