"""A real serving process, told by a hand-made snapshot what to serve."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis

from slipway import embedded, redis_users
from tests.serving import bundles
from tests.stack import ROOT, free_ports
from workers.contracts import keys, names
from workers.contracts.snapshot import KeyEntry, Route, RouteRevision, Snapshot, TeamQuota
from workers.storage import open_storage


def new_id(prefix: str) -> str:
    """An id of the product's form."""
    return f"{prefix}_" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(24))


def until(condition: Callable[[], Any], patience_s: float = 20.0) -> Any:
    """The first true value of a condition. Fails when it stays false."""
    end = time.monotonic() + patience_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < end, f"not so within {patience_s} s: {condition}"
        time.sleep(0.02)


@dataclass
class Control:
    """Stands where the control plane is: publishes routes and keys."""

    client: "redis.Redis[bytes]"
    storage: str
    routes: list[Route] = field(default_factory=list)
    keys: dict[str, KeyEntry] = field(default_factory=dict)
    teams: dict[str, TeamQuota] = field(default_factory=dict)
    requests_left: dict[str, int] = field(default_factory=dict)
    team: str = field(default_factory=lambda: new_id("tem"))
    version: int = 0

    def publish(self) -> int:
        """Publish everything; the version."""
        self.version = max(self.version + 1, int(time.time() * 1000))
        snapshot = Snapshot(
            version=self.version,
            published=time.time(),
            routes=self.routes,
            keys=self.keys,
            teams=self.teams,
            requests_left=self.requests_left,
        )
        with self.client.pipeline() as pipe:
            pipe.set(names.SNAPSHOT, snapshot.model_dump_json())
            pipe.set(names.SNAPSHOT_VERSION, self.version)
            pipe.publish(names.SNAPSHOT_CHANNEL, self.version)
            pipe.execute()
        return self.version

    def add_key(self, **fields: Any) -> str:
        """A key of the team; its text."""
        new = keys.new_key(keys.API_KEY)
        self.keys[new.digest] = KeyEntry(**{"key": new_id("key"), "team": self.team, **fields})
        return new.text

    def add_route(self, slug: str, bundle: Path, kind: str = "text", **fields: Any) -> Route:
        """An endpoint with all traffic on one bundle."""
        route = Route(
            **{
                "endpoint": new_id("end"),
                "slug": slug,
                "team": self.team,
                "project": new_id("prj"),
                "kind": kind,
                "template": f"{kind}-classification",
                "revisions": [self.revision(bundle)],
                **fields,
            }
        )
        self.routes.append(route)
        return route

    def revision(self, bundle: Path, *, traffic: int = 100, number: int = 1) -> RouteRevision:
        """A revision of a bundle, which is put into storage."""
        model, key = new_id("mdl"), f"{names.attempt_prefix(new_id('job'), 1)}/output/bundle.zip"
        open_storage(self.storage).put_file(bundle, key)
        return RouteRevision(
            revision=new_id("rev"),
            model=model,
            number=number,
            traffic=traffic,
            bundle_key=key,
            bundle_sha256=bundles.sha256(bundle),
            bundle_bytes=bundle.stat().st_size,
        )

    def replace(self, route: Route, **changes: Any) -> Route:
        """Change a route, not yet published."""
        changed = route.model_copy(update=changes)
        self.routes = [changed if known.slug == route.slug else known for known in self.routes]
        return changed

    def records(self) -> list[dict[str, Any]]:
        """Every usage record, in order."""
        return [json.loads(fields[b"r"]) for _, fields in self.client.xrange(names.STREAM_USAGE)]


@dataclass
class Serving:
    """A running process. `again` starts it once more, on the same port and home."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path
    again: Callable[[], "subprocess.Popen[bytes]"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self, path: str = "/readyz") -> bool:
        """Whether a GET is answered with 200."""
        try:
            return httpx.get(self.url + path, timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(20)


class OwnServer:
    """A Redis or Postgres of the test's own, which may be killed and started again on its data."""

    def __init__(self, server: embedded.Server, log: Path) -> None:
        self._server, self._log = server, log
        self.url = server.url
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers. A killed Postgres' children may take a moment to go: once more, then."""
        until(self._starts)

    def _starts(self) -> bool:
        with self._log.open("ab") as out:
            options = embedded.spawn_arguments(self._server)
            self.process = subprocess.Popen(self._server.command, stdout=out, stderr=out, **options)
        with contextlib.suppress(embedded.EmbeddedError):
            embedded.wait_ready(self._server, lambda: self.process.poll() is None)
            return True
        return False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it at once."""
        self.process.send_signal(number)
        self.process.wait(20)


@contextlib.contextmanager
def own_server(home: Path, name: str) -> Iterator[OwnServer]:
    """A "redis" or "postgres" while the block runs."""
    (server,) = embedded.prepare(home, postgres=name == "postgres", redis=name == "redis")
    running = OwnServer(server, home / f"{name}.log")
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill(server.stop_signal)


@contextlib.contextmanager
def serving(
    home: Path, redis_url: str, *, wait: bool = True, port: int | None = None, **variables: str
) -> Iterator[Serving]:
    """Run `python -m workers.serving` while the block runs."""
    port = port or free_ports(1)[0]
    environ = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environ |= {
        "PYTHONPATH": str(ROOT),
        "SLIPWAY_HOME": str(home),
        "SLIPWAY_STORAGE": str(home / "storage"),
        "REDIS_URL": redis_users.url_of(redis_url, "serving"),
        "SLIPWAY_PREDICT_PORT": str(port),
        "SLIPWAY_SERVING_DRAIN_MS": "200",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    log = home / f"serving-{port}.log"

    def start() -> "subprocess.Popen[bytes]":
        with log.open("ab") as out:
            command = [sys.executable, "-m", "workers.serving"]
            return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT)

    running = Serving(start(), port, log, start)
    try:
        if wait:
            until(lambda: running.answers() or running.process.poll() is not None, 60)
            assert running.process.poll() is None, log.read_text()
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()
        print(log.read_text()[-8000:])  # shown where the test failed
