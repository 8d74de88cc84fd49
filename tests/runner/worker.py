"""A runner as a process of its own, started as a user would start it."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import redis
from celery import Celery

from slipway import redis_users
from tests.runner.bench import until
from workers.contracts import names
from workers.contracts.snapshot import RunnerStatus

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Worker:
    """A running `celery -A APP worker`."""

    process: "subprocess.Popen[bytes]"
    node: str
    client: redis.Redis
    log: Path

    @classmethod
    def start(
        cls,
        home: Path,
        redis_url: str,
        storage: str,
        *,
        app: str = "tests.runner.fake_worker",
        node: str = "runner-1",
        queues: str = f"{names.QUEUE_TRAIN_CPU},{names.QUEUE_INGEST}",
    ) -> "Worker":
        """Start it and wait until it has said that it is there."""
        home.mkdir(parents=True, exist_ok=True)
        passed = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "LANG", "OMP_NUM_THREADS") or name.startswith("AWS_")
        }
        environ = {**passed, "SLIPWAY_STORAGE": storage, "SLIPWAY_HOME": str(home)}
        environ |= {"REDIS_URL": redis_users.url_of(redis_url, "runner")}
        environ |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "celery", "-A", app, "worker", f"--queues={queues}", "--pool=threads"]
        command += [
            "--concurrency=1",
            f"--hostname={node}@test",
            "--without-gossip",
            "--without-mingle",
            "--loglevel=INFO",
        ]
        log = home / f"{node}.log"
        with open(log, "ab") as stream:
            process = subprocess.Popen(
                [*command, "--loglevel=INFO"],
                cwd=ROOT,
                env=environ,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        worker = cls(process, f"{node}@test", redis.Redis.from_url(redis_url), log)
        until(lambda: worker.status() or process.poll() is not None, "the runner to be there", 30)
        assert process.poll() is None, log.read_text()
        return worker

    def status(self) -> RunnerStatus | None:
        """What it says of itself."""
        for key in self.client.scan_iter(names.runner_key(f"{self.node}.*")):
            value = self.client.get(key)
            if isinstance(value, bytes):
                return RunnerStatus.model_validate_json(value)
        return None

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 15) -> int:
        """End it; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """End it whatever happens."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.client.close()


def send(redis_url: str, job: str, attempt: int = 1, *, queue: str = names.QUEUE_INGEST, priority: int = 3) -> None:
    """What the control plane sends for an attempt."""
    with Celery("sender", broker=redis_url, set_as_current=False) as sender:
        sender.send_task(names.TASK_RUN_JOB, args=[job, attempt], queue=queue, priority=priority, ignore_result=True)
