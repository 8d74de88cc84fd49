"""The Celery app of the worker hosts: `celery -A workers.runner.app worker --queues=train.cpu,ingest,batch`.

One job at a time per process, in a thread (`--pool=threads --concurrency=1`): the main thread stays free to hear
SIGTERM and hand the job back at once, and SIGKILL leaves no half of the runner behind. With prefork, the process that
holds the lease would outlive its parent; with solo, SIGTERM would wait for the job. The heavy work is in a child
process anyway.

Messages are acknowledged when they are taken. What is lost then is found by its missing lease.
"""

import compileall
import os
import threading
from typing import Any

from celery import Celery
from celery.signals import celeryd_after_setup, worker_ready, worker_shutdown, worker_shutting_down

from workers.contracts import names
from workers.runner import fetching
from workers.runner import host as runner
from workers.runner.attempt import Host
from workers.runner.child import ROOT
from workers.runner.presence import Presence

app = Celery("slipway-runner", broker=os.environ.get("REDIS_URL"))
app.conf.update(
    result_backend=None,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=False,
    task_default_queue=names.QUEUE_TRAIN_CPU,
    worker_pool="threads",
    worker_concurrency=1,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_timeout": 10, "socket_connect_timeout": 3, "health_check_interval": 10},
)


class _Process:
    """What this worker process holds."""

    host: Host
    presence: Presence


@celeryd_after_setup.connect
def _set_up(sender: str, instance: Any, **_: Any) -> None:
    # Jobs write nothing beside the code, so that without this each would compile what it imports: 0.15 s of an import.
    threading.Thread(target=compileall.compile_dir, args=[ROOT / "workers"], kwargs={"quiet": 2}, daemon=True).start()
    _Process.host = runner.open_host(sender, dict(runner.MODULES))
    queues = sorted(instance.app.amqp.queues.consume_from)
    _Process.presence = Presence(_Process.host, queues)


@worker_ready.connect
def _say_ready(**_: Any) -> None:
    _Process.presence.start()


@worker_shutting_down.connect
def _hand_back(**_: Any) -> None:
    _Process.host.stopping.set()


@worker_shutdown.connect
def _say_gone(**_: Any) -> None:
    _Process.presence.close()


@app.task(name=names.TASK_FETCH_UPLOAD)
def fetch_upload(spec: str) -> None:
    """Fetch a file that somebody wants to look at."""
    fetching.fetch_upload(_Process.host, spec)


@app.task(name=names.TASK_RUN_JOB)
def run_job(job: str, attempt: int) -> None:
    """Run one attempt of a job."""
    runner.run_job(_Process.host, _Process.presence, str(job), int(attempt))
