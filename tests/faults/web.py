"""The web process on the test database, behind edges that can fail."""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from django.conf import settings

from tests.faults.edge import Edge
from tests.serving.running import until
from tests.stack import ROOT, free_ports


def database_url() -> str:
    """Of the database that the tests of this process use."""
    return os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{settings.DATABASES['default']['NAME']}"


def environment(database: str, redis: str, home: Path) -> dict[str, str]:
    """What a process of the control plane needs to know."""
    environ = {**os.environ, "DATABASE_URL": database, "REDIS_URL": redis, "SLIPWAY_HOME": str(home)}
    return environ | {"SLIPWAY_STORAGE": str(home / "storage"), "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}


@contextlib.contextmanager
def full_disk(process: "subprocess.Popen[bytes]", *, room: int) -> Iterator[None]:
    """While the block runs, the process cannot make a file larger than `room` bytes."""
    _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, most))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))


@dataclass
class Web:
    """A running web process, and a program that talks to it."""

    process: "subprocess.Popen[bytes]"
    client: httpx.Client
    database: Edge
    redis: Edge
    log: Path

    def known_by(self, token: str) -> "Web":
        """The same, its program having another token."""
        self.client.headers["Authorization"] = f"Bearer {token}"
        return self


@contextlib.contextmanager
def web(home: Path, database: Edge, redis: Edge) -> Iterator[Web]:
    """`python -m slipway.web` while the block runs."""
    (port,) = free_ports(1)
    environ = environment(database.url, redis.url, home) | {"SLIPWAY_PORT": str(port), "TMPDIR": str(home)}
    log = home / "web.log"

    with log.open("ab") as out:
        command = [sys.executable, "-m", "slipway.web"]
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=out)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return client.get("/healthz").status_code == 200
        return False

    try:
        until(answers, 60)
        yield Web(process, client, database, redis, log)
    finally:
        client.close()
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        print(log.read_text()[-6000:])  # shown where the test failed
