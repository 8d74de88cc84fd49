"""`manage.py record` on the test database; may be killed and started again."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import redis
from django.conf import settings

from apps.usage.models import StreamPosition
from tests.stack import ROOT
from workers.contracts import names


class Recording:
    """`manage.py record` on the test database; may be killed and started again."""

    def __init__(self, redis_url: str, log: Path) -> None:
        name = settings.DATABASES["default"]["NAME"]
        database_url = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
        self._environ = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
        self._environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'platform'}"
        self._log = log
        self.start()

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as out:
            command = [sys.executable, str(ROOT / "manage.py"), "record"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environ, stdout=out, stderr=out)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


@contextlib.contextmanager
def recording(redis_url: str, log: Path) -> Iterator[Recording]:
    """A recorder while the block runs."""
    recorder = Recording(redis_url, log)
    try:
        yield recorder
    finally:
        if recorder.process.poll() is None:
            recorder.stop()


def caught_up(client: "redis.Redis[bytes]") -> bool:
    """Whether everything in the stream has been applied."""
    newest = client.xinfo_stream(names.STREAM_USAGE)["last-generated-id"].decode()
    return StreamPosition.objects.filter(stream=names.STREAM_USAGE, position=newest).exists()
