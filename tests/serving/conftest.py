"""A serving process with one endpoint of each kind: shared by a module's tests, or one of a test's own."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.serving import bundles
from tests.serving.running import Control, Serving, serving
from workers.contracts.snapshot import Route


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """text.zip, flipped.zip (its labels turned round), image.zip, dear.zip (images, slow to predict), ranking.zip."""
    folder = tmp_path_factory.mktemp("bundles")
    bundles.text_bundle(folder / "text.zip")
    bundles.text_bundle(folder / "flipped.zip", flipped=True)
    bundles.image_bundle(folder / "image.zip")
    bundles.image_bundle(folder / "dear.zip", dear=24)
    bundles.ranking_bundle(folder / "ranking.zip")
    return folder


@dataclass
class Stage:
    """A control plane of the test's own, and a process that serves what it publishes."""

    control: Control
    serving: Serving
    text: Route
    image: Route
    key: str
    client: httpx.Client

    @property
    def auth(self) -> dict[str, str]:
        """The header that carries the key."""
        return {"Authorization": f"Bearer {self.key}"}

    def predict(self, inputs: object, slug: str = "reviews", key: str | None = None) -> httpx.Response:
        """POST {"inputs": ...} to an endpoint."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return self.client.post(f"/v1/endpoints/{slug}/predict", json={"inputs": inputs}, headers=headers)

    def record(self, reply: httpx.Response) -> dict[str, Any]:
        """The one usage record of a reply."""
        (found,) = [one for one in self.control.records() if one["request_id"] == reply.headers["x-request-id"]]
        assert found["status"] == reply.status_code
        return found


@contextlib.contextmanager
def staged(
    home: Path, redis_url: str, bundle_folder: Path, change: Callable[[Control], object] | None = None, **variables: str
) -> Iterator[Stage]:
    """Endpoints `reviews` (text), `colours` (image), `shop` (ranking), and a key. `change` comes before the start."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(redis.Redis.from_url(redis_url)))
        client.flushall()
        control = Control(client, str(home / "storage"))
        text = control.add_route("reviews", bundle_folder / "text.zip")
        image = control.add_route("colours", bundle_folder / "image.zip", kind="image")
        control.add_route("shop", bundle_folder / "ranking.zip", kind="recommendation")
        key = control.add_key()
        if change:
            change(control)
        control.publish()
        running = stack.enter_context(serving(home, redis_url, **variables))
        http = stack.enter_context(httpx.Client(base_url=running.url, timeout=20, trust_env=False))
        yield Stage(control, running, text, image, key, http)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, redis_server: str, bundle_folder: Path) -> Iterator[Stage]:
    """One process for a module: its tests may add keys and routes, but change none."""
    with staged(tmp_path_factory.mktemp("serving"), redis_server, bundle_folder) as running:
        yield running


@pytest.fixture
def own_stage(tmp_path: Path, redis_server: str, bundle_folder: Path) -> Iterator[Stage]:
    """A process for one test, which may do to it what it likes."""
    with staged(tmp_path, redis_server, bundle_folder) as running:
        yield running
