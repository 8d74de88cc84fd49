"""The real runner with that engine: `celery -A tests.training.quick_worker worker`."""

from workers.runner import host
from workers.runner.app import app

__all__ = ["app"]

host.MODULES["train"] = "tests.training.quick_engine"
