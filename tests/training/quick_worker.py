"""The real runner with that engine, and leases that run out soon: `celery -A tests.training.quick_worker worker`."""

from workers.contracts import names
from workers.runner import host
from workers.runner.app import app

__all__ = ["app"]

host.MODULES["train"] = "tests.training.quick_engine"
names.LEASE_TTL_S, names.LEASE_RENEW_S = 5, 1  # type: ignore[misc]
