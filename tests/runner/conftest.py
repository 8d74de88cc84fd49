"""Fixtures of the runner's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.runner.bench import Bench
from workers.storage import open_storage


@pytest.fixture
def bench(redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> Iterator[Bench]:
    """An empty Redis, an empty store, and runners to be made."""
    made = Bench(redis_client, open_storage(str(tmp_path / "store")), tmp_path / "home", redis_url)
    yield made
    made.close()
