"""What a runner does with a message: look whether the attempt is still wanted, take the lease, run it."""

import logging
import os
import secrets
import time
from pathlib import Path
from typing import Final

import redis
from pydantic import ValidationError
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.contracts import names
from workers.contracts.errors import JobError, SlipwayError, is_full
from workers.contracts.events import Failed
from workers.contracts.job import JobSpec
from workers.fetch import policy
from workers.runner.attempt import Attempt, Host
from workers.runner.folders import clear_leftovers, job_folder
from workers.runner.lease import Lease
from workers.runner.presence import Presence, find_devices
from workers.runner.relay import Relay
from workers.storage import Storage, open_storage

log = logging.getLogger(__name__)

MODULES: Final = {"train": "workers.engine", "ingest": "workers.ingest", "batch": "workers.batch"}
_ROOT: Final = Path(__file__).resolve().parents[2]
_TIMEOUT_S: Final = 3.0


def connect(url: str) -> redis.Redis:
    """A client that gives up soon: who calls tries again in its own time."""
    return redis.Redis.from_url(
        url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )


def open_host(node: str, modules: dict[str, str]) -> Host:
    """This process's runner by the environment: REDIS_URL, SLIPWAY_STORAGE, SLIPWAY_HOME, SLIPWAY_IMPORT_NETWORKS,
    SLIPWAY_IMPORT_BUCKETS. Clears leftovers away.

    The name ends in four random characters: a runner that was started anew is another one.
    """
    home = Path(os.environ.get("SLIPWAY_HOME") or _ROOT / "var").expanduser().resolve()
    if cleared := clear_leftovers(home):
        log.warning("removed %d job folders left by runners that were killed", cleared)
    label, count = find_devices()
    return Host(
        name=f"{node}.{secrets.token_hex(2)}",
        device=label,
        devices=count,
        home=home,
        client=connect(os.environ["REDIS_URL"]),
        storage=open_storage(os.environ.get("SLIPWAY_STORAGE") or str(home / "storage")),
        modules=modules,
        policy=policy.of_environment(os.environ),
    )


def run_job(host: Host, presence: Presence | None, job: str, attempt: int) -> bool:
    """Run an attempt, if it is still wanted and nobody else has it; whether it was run.

    Never raises for what may happen: a message that is dropped here is sent again by the reaper.
    """
    try:
        spec = wanted(host.storage, job, attempt)
        if spec is None:
            return False
        lease = Lease(host.client, job, attempt, host.name, lambda: is_current(host.storage, job, attempt))
        if host.stopping.is_set() or not lease.take():
            return False
    except (SlipwayError, redis.RedisError) as error:
        log.warning("job %s not taken: %s", job, error)
        return False
    if presence:
        presence.tell_job(job)
    try:
        with job_folder(host.home, job, attempt) as folder:
            Attempt(host, spec, lease, folder).run()
    except OSError as error:
        _say_no_folder(host, spec, error)
    finally:
        _release(lease)
        if presence:
            presence.tell_job(None)
    return True


def _say_no_folder(host: Host, spec: JobSpec, error: OSError) -> None:
    card = JobError("disk_full" if is_full(error) else "job_crashed", evidence=error.strerror or "").card()
    relay = Relay(host.client, spec.job, spec.attempt)
    relay.say(Failed(time=time.time(), error=card))
    relay.flush_until(host.stopping)


def wanted(storage: Storage, job: str, attempt: int) -> JobSpec | None:
    """The spec, if this attempt is the present one and has no result yet. Raises InfraError."""
    spec = _present(storage, job, attempt)
    return None if spec is None or storage.exists(f"{spec.output_prefix}/result.json") else spec


def is_current(storage: Storage, job: str, attempt: int) -> bool:
    """Whether the job has been given to no other attempt and is not over. Raises InfraError."""
    return _present(storage, job, attempt) is not None


def _present(storage: Storage, job: str, attempt: int) -> JobSpec | None:
    try:
        spec = JobSpec.model_validate_json(storage.read_bytes(names.job_spec_key(job)))
    except JobError:
        return None  # over: the spec was withdrawn
    except ValidationError:
        log.error("the spec of job %s is not valid", job)
        return None
    return spec if spec.job == job and spec.attempt == attempt else None


def _release(lease: Lease) -> None:
    try:
        lease.release()
    except redis.RedisError:
        log.warning("the lease was not released; it runs out by itself")
