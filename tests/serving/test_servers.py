"""Several serving processes: one port, one Redis, one limit."""

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.conftest import Stage, staged
from tests.serving.running import Serving, new_id, serving, until
from workers.contracts import names
from workers.contracts.snapshot import ServingStatus, TeamQuota

RATE = 5.0


def ready(stage: Stage) -> int:
    """How many processes have loaded all models."""
    client = stage.control.client
    told = [client.get(key) for key in client.keys(names.serving_key("*"))]
    found = [ServingStatus.model_validate_json(text) for text in told if text]
    return sum(bool(one.revisions) and set(one.revisions.values()) == {"ready"} for one in found)


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, redis_server: str, bundle_folder: Path
) -> Iterator[tuple[Stage, Serving]]:
    """Two processes that share a port."""
    home = tmp_path_factory.mktemp("servers")
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(staged(home, redis_server, bundle_folder, SLIPWAY_SERVERS="2"))
        other = stack.enter_context(serving(home, redis_server, port=stage.serving.port, SLIPWAY_SERVERS="2"))
        until(lambda: ready(stage) == 2)
        yield stage, other


def publish(stage: Stage) -> None:
    """Publish, and wait until both know."""
    version, client = stage.control.publish(), stage.control.client

    def known() -> bool:
        told = [client.get(key) for key in client.keys(names.serving_key("*"))]
        return [ServingStatus.model_validate_json(text).version for text in told if text] == [version] * 2

    until(known)
    until(lambda: ready(stage) == 2)


def asked(stage: Stage, key: str, slug: str = "reviews") -> int:
    """The status of one request on a connection of its own: either process may get it."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", stage.serving.port, timeout=20)) as connection:
        connection.request("POST", f"/v1/endpoints/{slug}/predict", b'{"inputs": ["good"]}', headers)
        return connection.getresponse().status


@pytest.mark.parametrize("limited", ["key", "endpoint"])
def test_a_rate_holds_over_both(pair: tuple[Stage, Serving], bundle_folder: Path, limited: str) -> None:
    stage, _ = pair
    slug, key = f"rate-of-{limited}", stage.control.add_key(rate_limit=RATE if limited == "key" else None)
    rate = RATE if limited == "endpoint" else None
    stage.control.add_route(slug, bundle_folder / "text.zip", rate_limit=rate)
    publish(stage)
    statuses: Counter[int] = Counter()
    started = time.monotonic()

    def ask() -> None:
        while time.monotonic() < started + 4:
            statuses[asked(stage, key, slug)] += 1

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - started
    assert set(statuses) == {200, 429}, statuses
    # A burst of one second's worth, and what a second more allows.
    assert statuses[200] <= RATE * (elapsed + 2), (statuses, elapsed)


@pytest.mark.parametrize("limited", ["endpoint", "key"])
def test_a_quota_of_an_endpoint_or_a_key_holds_over_both(
    pair: tuple[Stage, Serving], bundle_folder: Path, limited: str
) -> None:
    stage, _ = pair
    control, slug, name = stage.control, f"quota-of-{limited}", new_id("key")
    key = control.add_key(key=name)
    route = control.add_route(slug, bundle_folder / "text.zip")
    control.requests_left = {route.endpoint if limited == "endpoint" else name: 40}
    publish(stage)
    assert [asked(stage, key, slug) for _ in range(40)] == [200] * 40
    # Neither has counted 40: each has heard of the other's.
    until(lambda: [asked(stage, key, slug) for _ in range(8)] == [429] * 8, 5)
    assert asked(stage, stage.key) == 200, "others are not held up by it"


def test_one_goes_and_the_other_answers(pair: tuple[Stage, Serving]) -> None:
    stage, other = pair
    assert other.stop() == 0
    assert [asked(stage, stage.key) for _ in range(10)] == [200] * 10


def test_a_quota_holds_over_two_addresses(tmp_path: Path, redis_server: str, bundle_folder: Path) -> None:
    team = new_id("tem")
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(staged(tmp_path, redis_server, bundle_folder))
        other = stack.enter_context(serving(tmp_path, redis_server))
        stage.control.teams[team] = TeamQuota(requests_left=200)
        stage.control.add_route("metered", bundle_folder / "text.zip", team=team)
        key = stage.control.add_key(team=team)
        stage.control.publish()
        headers = {"Authorization": f"Bearer {key}"}
        clients = [
            stack.enter_context(httpx.Client(base_url=one.url, headers=headers, timeout=20, trust_env=False))
            for one in (stage.serving, other)
        ]

        def ask(client: httpx.Client) -> httpx.Response:
            return client.post("/v1/endpoints/metered/predict", json={"inputs": ["good"]})

        for client in clients:
            until(lambda client=client: client.get("/v2/models/metered/ready").is_success)
        here, there = clients
        assert [ask(here).status_code for _ in range(100)] == [200] * 100
        answered = 0

        def knows() -> bool:
            nonlocal answered
            answered += 1
            return int(ask(there).headers["x-ratelimit-remaining"]) == 100 - answered

        until(knows, 5)
        # There is no more than the rest, whoever is asked for it.
        left = 100 - answered
        assert [ask(there).status_code for _ in range(left + 1)] == [200] * left + [429]
        until(lambda: ask(here).status_code == 429, 5)


def test_a_repeated_call_is_known_at_another_address(tmp_path: Path, redis_server: str, bundle_folder: Path) -> None:
    with staged(tmp_path, redis_server, bundle_folder) as stage, serving(tmp_path, redis_server) as other:

        def call(url: str, text: str) -> httpx.Response:
            headers = {**stage.auth, "Idempotency-Key": "once"}
            return httpx.post(
                f"{url}/v1/endpoints/reviews/predict", json={"inputs": [text]}, headers=headers, trust_env=False
            )

        first, again = call(stage.serving.url, "good"), call(other.url, "good")
        assert (first.status_code, again.status_code) == (200, 200), again.text
        assert again.headers["idempotency-replayed"] == "true" and again.json() == first.json()
        assert call(other.url, "bad").status_code == 409
        assert [record["status"] for record in stage.control.records()] == [200, 409]
