"""Which runners are alive, by what they say of themselves in Redis."""

import redis

from apps.core.presence import present
from workers.contracts import names
from workers.contracts.snapshot import RunnerStatus


def live_runners() -> list[RunnerStatus]:
    """Every runner that reported within RUNNER_TTL_S, by name. Raises redis.RedisError."""
    return present(names.RUNNERS, names.runner_key, RunnerStatus)


def training_queue(devices: int = 1) -> str:
    """Where a training on so many devices goes: to GPUs where a live runner offers so many, else to CPUs.

    Where no live runner has so many, to the kind of device that there is: one may come.
    """
    try:
        offered = {queue for runner in live_runners() for queue in runner.queues}
    except redis.RedisError:
        offered = set()
    gpu, cpu = (names.training_queue(queue, devices) for queue in (names.QUEUE_TRAIN_GPU, names.QUEUE_TRAIN_CPU))
    if gpu in offered or (cpu not in offered and names.QUEUE_TRAIN_GPU in offered):
        return gpu
    return cpu
