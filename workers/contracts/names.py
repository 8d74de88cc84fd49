"""Every name that two processes must agree on: queues, Redis keys and streams, storage keys, Celery tasks."""

import re
from datetime import datetime
from typing import Final

# Celery queues of the worker hosts. The control plane's own tasks use the queue "control".
QUEUE_TRAIN_GPU: Final = "train.gpu"
QUEUE_TRAIN_CPU: Final = "train.cpu"
QUEUE_INGEST: Final = "ingest"
QUEUE_BATCH: Final = "batch"
QUEUE_CONTROL: Final = "control"


def training_queue(queue: str, devices: int) -> str:
    """The queue of trainings on so many devices of one host: `train.gpu`, `train.gpu.2`, `train.gpu.4`, …

    Numbers between go to the next power of two: a runner with n devices takes from every queue up to n.
    """
    return queue if devices <= 1 else f"{queue}.{1 << (devices - 1).bit_length()}"


def training_queues(queue: str, devices: int) -> list[str]:
    """The queues that a runner with so many devices takes from."""
    return [training_queue(queue, 1 << power) for power in range(max(1, devices).bit_length())]


# The task that runners take: run_job(job, attempt). Everything else about the job is in its spec in storage.
TASK_RUN_JOB: Final = "workers.runner.run_job"
# And beside jobs: fetch_upload(spec), a workers.contracts.fetching.FetchSpec as JSON.
TASK_FETCH_UPLOAD: Final = "workers.runner.fetch_upload"

# Redis streams, read by the recorder.
STREAM_EVENTS: Final = "slipway:events"
STREAM_USAGE: Final = "slipway:usage"
STREAM_FEEDBACK: Final = "slipway:feedback"
STREAM_SHADOW: Final = "slipway:shadow"


def stream_order(position: str) -> tuple[int, int]:
    """An entry's id in a stream ("1700000000000-3"), to be compared with another's."""
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number or 0)


# What the hosted prediction API knows (workers.contracts.snapshot.Snapshot as JSON), its version counter, and the
# channel that tells of a change.
SNAPSHOT: Final = "slipway:snapshot"
SNAPSHOT_VERSION: Final = "slipway:snapshot:version"
SNAPSHOT_CHANNEL: Final = "slipway:snapshot:changed"
# What each serving process has let in lately, for the others' limits: [process, {key, endpoint or team: requests}].
LIMITS_CHANNEL: Final = "slipway:limits"

LEASE_TTL_S: Final = 15
LEASE_RENEW_S: Final = 3
RUNNER_TTL_S: Final = 15
SERVING_TTL_S: Final = 5


def lease_key(job: str) -> str:
    """Who runs the job now: "attempt:runner", with a TTL of LEASE_TTL_S."""
    return f"slipway:lease:{job}"


def cancel_key(job: str) -> str:
    """Set by the control plane when a running job has to stop."""
    return f"slipway:cancel:{job}"


def fetch_key(upload: str) -> str:
    """Where the fetching of an upload is: workers.contracts.fetching.FetchState as JSON. Gone: not wanted any more."""
    return f"slipway:fetch:{upload}"


def runner_key(runner: str) -> str:
    """RunnerStatus as JSON, renewed by each runner, with a TTL of RUNNER_TTL_S."""
    return f"slipway:runner:{runner}"


def serving_key(process: str) -> str:
    """ServingStatus as JSON, renewed by each serving process, with a TTL of SERVING_TTL_S."""
    return f"slipway:serving:{process}"


def call_key(fingerprint: str) -> str:
    """What a call with an Idempotency-Key was answered: its question's sha256, then the answer once there is one."""
    return f"slipway:call:{fingerprint}"


# Sets of the names under which runners and serving processes say how they are (runner_key, serving_key): whoever wants
# to know reads these, and does not search all keys there are. Of who went without a word the name stays a while.
RUNNERS: Final = "slipway:runners"
SERVERS: Final = "slipway:servers"


# Storage keys. Users' own names never become part of a key.
_ID = re.compile(r"[a-z]{2,4}_[a-z2-7]{24}\Z")


def _checked(identifier: str) -> str:
    if not _ID.match(identifier):
        raise ValueError(f"not an id: {identifier[:40]!r}")
    return identifier


def upload_key(team: str, upload: str) -> str:
    """The bytes of an upload as they came."""
    return f"teams/{_checked(team)}/uploads/{_checked(upload)}"


def version_prefix(team: str, version: str) -> str:
    """The folder of what a dataset version is corrected by: changes.json. Its data is where its job stored it."""
    return f"teams/{_checked(team)}/versions/{_checked(version)}"


def usage_key(team: str, hour: datetime, part: int) -> str:
    """The ledger of a team's hour (UTC) as Parquet; parts after the first hold what came late."""
    addition = "" if part == 1 else f"-{int(part)}"
    return f"teams/{_checked(team)}/usage/{hour:%Y/%m/%d/%H}{addition}.parquet"


def job_prefix(job: str) -> str:
    """The folder of all that a job stores."""
    return f"jobs/{_checked(job)}"


def job_spec_key(job: str) -> str:
    """The JobSpec of a job's current attempt."""
    return f"{job_prefix(job)}/spec.json"


def attempt_prefix(job: str, attempt: int) -> str:
    """What one attempt writes: checkpoints/, output/ and, last, result.json."""
    return f"{job_prefix(job)}/attempts/{int(attempt)}"
