"""The runner's Celery app with the fake child in place of ingest: `celery -A tests.runner.fake_worker worker`."""

from workers.runner import host
from workers.runner.app import app

__all__ = ["app"]

host.MODULES["ingest"] = "tests.runner.fake_child"
