"""Does one thing of the control plane or of a runner per line of standard input, each in a process of its own.

    python -m tests.faults.doing

A test ends such a process wherever it likes (see doer.py). Forked from one that has loaded everything and holds no
connection, it costs a small part of what starting Django anew would.
"""

import base64
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import django

django.setup()

import redis  # noqa: E402
from celery import current_app  # noqa: E402
from django.conf import settings  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402

import slipway.urls  # noqa: E402, F401 - and with it every view
from apps.core.artifacts import storage  # noqa: E402
from apps.usage.recorder import Recorder, Standby  # noqa: E402
from slipway.celery_app import app as _app  # noqa: E402
from workers.runner.attempt import Host  # noqa: E402
from workers.runner.host import connect, run_job  # noqa: E402


def request(
    method: str, path: str, token: str, body: str = "", content_type: str = "application/json", **headers: str
) -> Any:
    """A request to the control API; `body` is base64. Its status, headers and text."""
    client = APIClient(HTTP_HOST="127.0.0.1", HTTP_AUTHORIZATION=f"Bearer {token}")
    reply = client.generic(method, path, base64.b64decode(body), content_type=content_type, headers=headers)
    return {"status": reply.status_code, "headers": dict(reply.items()), "text": reply.content.decode()}


def task(name: str) -> None:
    """A periodic task."""
    current_app.tasks[name]()


def record() -> int:
    """One step of the recorder; how many entries it applied."""
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5) as client, contextlib.suppress(Standby):
        return Recorder(client).step(block_ms=1)
    return 0  # another was quicker


def job(job: str, attempt: int) -> bool:
    """An attempt at an ingest job whose child is tests.runner.fake_child."""
    home, modules = Path(settings.SLIPWAY_HOME), {"ingest": "tests.runner.fake_child"}
    client = connect(settings.REDIS_URL)
    host = Host(
        name=f"runner-{attempt}", device="cpu (1 core)", home=home, client=client, storage=storage(), modules=modules
    )
    return run_job(host, None, job, attempt)


WHAT = {"request": request, "task": task, "record": record, "job": job}


def _line() -> str:
    """The next line, and not a byte more: the forked process reads here, too."""
    read = b""
    while not read.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit()
        read += byte
    return read.decode()


def _say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Until standard input is closed."""
    current_app.loader.import_default_modules()
    while True:
        asked = json.loads(_line())
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            _say(status=status)
            continue
        _say(pid=os.getpid())
        _line()
        _say(answer=WHAT[asked.pop("what")](**asked))
        os._exit(0)


if __name__ == "__main__":
    assert _app is not None
    main()
