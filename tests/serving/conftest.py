"""One serving process for the tests that do not kill it, with one endpoint of each kind."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis

from tests.serving import bundles
from tests.serving.running import Control, Serving, serving
from workers.contracts.snapshot import Route


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """text.zip, flipped.zip (the same with its labels turned round), image.zip."""
    folder = tmp_path_factory.mktemp("bundles")
    bundles.text_bundle(folder / "text.zip")
    bundles.text_bundle(folder / "flipped.zip", flipped=True)
    bundles.image_bundle(folder / "image.zip")
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

    def predict(self, inputs: object, slug: str = "reviews", key: str | None = None) -> httpx.Response:
        """POST {"inputs": ...} to an endpoint."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return self.client.post(f"/v1/endpoints/{slug}/predict", json={"inputs": inputs}, headers=headers)


@pytest.fixture
def control(tmp_path: Path, redis_client: "redis.Redis[bytes]") -> Control:
    """Publishes to an empty Redis."""
    return Control(redis_client, str(tmp_path / "storage"))


@pytest.fixture
def stage(tmp_path: Path, redis_url: str, control: Control, bundle_folder: Path) -> Iterator[Stage]:
    """Endpoints `reviews` (text) and `colours` (image), and a key for both."""
    with contextlib.ExitStack() as stack:
        text = control.add_route("reviews", bundle_folder / "text.zip")
        image = control.add_route("colours", bundle_folder / "image.zip", kind="image")
        key = control.add_key()
        control.publish()
        running = stack.enter_context(serving(tmp_path, redis_url))
        client = stack.enter_context(httpx.Client(base_url=running.url, timeout=20, trust_env=False))
        yield Stage(control, running, text, image, key, client)
