"""Saying every few seconds that this runner is alive, what it takes, on what it computes, and which job it has."""

import contextlib
import logging
import os
import subprocess
import threading
import time
from typing import Final, NamedTuple

import redis

from workers.contracts import names
from workers.contracts.snapshot import RunnerStatus
from workers.runner.attempt import Host

log = logging.getLogger(__name__)

_EVERY_S: Final = 3.0


class Presence(threading.Thread):
    """Renews the runner's key from a thread of its own, also while no job runs."""

    def __init__(self, host: Host, queues: list[str]) -> None:
        super().__init__(name="presence", daemon=True)
        self._host, self._queues = host, queues
        self._job: str | None = None
        self._changed = threading.Event()
        self._over = False

    def tell_job(self, job: str | None) -> None:
        """Which job runs now; told at once."""
        self._job = job
        self._changed.set()

    def close(self) -> None:
        """Gone in good order: nobody has to wait until the key runs out."""
        self._over = True
        self._changed.set()
        self.join(5)
        with contextlib.suppress(redis.RedisError):
            self._host.client.delete(names.runner_key(self._host.name))
            self._host.client.srem(names.RUNNERS, self._host.name)

    def run(self) -> None:
        """Tell, and tell again."""
        while not self._over:
            self._changed.clear()
            status = RunnerStatus(
                runner=self._host.name,
                queues=self._queues,
                device=self._host.device,
                devices=self._host.devices,
                job=self._job,
                time=time.time(),
            )
            try:
                with self._host.client.pipeline() as pipeline:
                    pipeline.set(names.runner_key(self._host.name), status.model_dump_json(), ex=names.RUNNER_TTL_S)
                    pipeline.sadd(names.RUNNERS, self._host.name)
                    pipeline.execute()
            except redis.RedisError as error:
                log.warning("runner status not told: %s", type(error).__name__)
            self._changed.wait(_EVERY_S)


class Devices(NamedTuple):
    """What jobs compute on here: in words, for example "cuda: NVIDIA H200 × 2" or "cpu (8 cores)", and how many."""

    label: str
    number: int


def find_devices() -> Devices:
    """The GPUs that this process may use, else its cores; found without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible != "":
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        command += [f"--id={visible}"] if visible else []
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
            if gpus := [line.strip() for line in done.stdout.splitlines() if line.strip()]:
                return Devices(f"cuda: {gpus[0]}" + (f" × {len(gpus)}" if len(gpus) > 1 else ""), len(gpus))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Devices(f"cpu ({cores} {'core' if cores == 1 else 'cores'})", cores)
