"""Every test runs on a real Postgres and a real Redis of its own session, in a temporary home."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
import redis

from slipway import embedded

# Folders whose files of tests take longest.
_LONGEST = ("journey", "training", "browser", "batch", "runner", "serving")

# Settings are read once, at import: where the servers will be is decided now. They start when a test first needs them.
_HOME = Path(tempfile.mkdtemp(prefix="slipway-tests-"))
_ADDRESSES = embedded.addresses(_HOME)
_GIVEN = {name for name in os.environ if name.startswith("SLIPWAY_") and name != "SLIPWAY_TEST_DATA"}
for _name in _GIVEN:
    del os.environ[_name]
_SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "slipway.settings",
    "DATABASE_URL": _ADDRESSES.database_url,
    "REDIS_URL": _ADDRESSES.redis_url,
    "SLIPWAY_EMBEDDED_DATABASE": "1",
    "SLIPWAY_HOME": str(_HOME),
}
os.environ.update(_SETTINGS)
(_HOME / "static").mkdir()  # whitenoise warns of a folder that is not there
django.setup()

pytest_plugins = ["tests.cast", "tests.chromium", "tests.stack", "tests.s3"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """A process of pytest-xdist makes a home of its own; handed ours, it would read its settings before it has one."""
    for name in _SETTINGS:
        os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is begun first, so that no process is left with it at the end."""
    order = {folder: place for place, folder in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


def pytest_unconfigure() -> None:
    """The home goes with the process; also with that of pytest-xdist which only deals out the tests."""
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def session_home() -> Path:
    """SLIPWAY_HOME of the session."""
    return _HOME


@pytest.fixture(scope="session")
def postgres_server(session_home: Path) -> Iterator[str]:
    """A running Postgres; gives its URL."""
    (server,) = embedded.prepare(session_home, redis=False, durable=False)
    with embedded.running(server, session_home / "postgres.log") as url:
        yield url


@pytest.fixture(scope="session")
def redis_server(session_home: Path) -> Iterator[str]:
    """A running Redis; gives its URL."""
    (server,) = embedded.prepare(session_home, postgres=False)
    with embedded.running(server, session_home / "redis.log") as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> Iterator[str]:
    """An empty Redis; gives its URL."""
    with contextlib.closing(redis.Redis.from_url(redis_server)) as client:
        client.flushall()
        yield redis_server


@pytest.fixture
def redis_client(redis_url: str) -> "Iterator[redis.Redis[bytes]]":
    """A client of an empty Redis; values are bytes."""
    with contextlib.closing(redis.Redis.from_url(redis_url)) as client:
        yield client


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_server: str, redis_server: str) -> None:
    """pytest-django asks for this before it makes the test database: whoever uses the database has both servers."""
