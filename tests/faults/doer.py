"""A process that does what it is told, and is killed after any of its steps: the crash at every point of the protocol.

A step is a request to Redis or Postgres that was answered. Between two of them nothing changes outside of the process
but files, so that all the states in which a crash can leave the servers come about.
"""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.edge import Steps, edge
from tests.faults.web import database_url, environment
from tests.stack import ROOT

# SLIPWAY_TEST_FAULTS=all kills after every step, else after one of so many.
EVERY = 1 if os.environ.get("SLIPWAY_TEST_FAULTS") == "all" else 7


@dataclass(frozen=True)
class Done:
    """Whether it was killed, after how many steps; else what came of it."""

    killed: bool
    steps: int
    answer: Any = None


class Doer:
    """See `doing`."""

    def __init__(self, process: "subprocess.Popen[bytes]", steps: Steps) -> None:
        self._process, self._steps = process, steps

    def do(
        self, what: str, *, last: int | None = None, meanwhile: Callable[[], object] | None = None, **arguments: Any
    ) -> Done:
        """Do it, and be killed right after step `last`; or only be stopped, until `meanwhile` has been done."""
        self._tell(json.dumps({"what": what, **arguments}))
        pid, reached = self._hear()["pid"], threading.Event()

        def stop() -> None:
            os.kill(pid, signal.SIGSTOP if meanwhile else signal.SIGKILL)
            reached.set()

        self._steps.arm(last, stop, ends=meanwhile is None)
        self._tell("go")
        if meanwhile:
            reached.wait(3)
            self._steps.last = None  # it may do without that step: then nobody is to stop it any more
            if reached.wait(0.1):
                meanwhile()
                os.kill(pid, signal.SIGCONT)
        heard = self._hear()
        answer = heard.get("answer")
        status = heard["status"] if "status" in heard else self._hear()["status"]
        assert status in (0, signal.SIGKILL), f"{what} ended with {status}"
        return Done(status != 0, self._steps.count, answer)

    def request(self, method: str, path: str, token: str, *, last: int | None = None, **options: Any) -> Done:
        """A request to the control API: `json`, or `content` as bytes, and headers by their names with underscores."""
        content = json.dumps(options.pop("json")).encode() if "json" in options else options.pop("content", b"")
        headers = {name.replace("_", "-"): value for name, value in options.items() if name != "content_type"}
        if "content_type" in options:
            headers["content_type"] = options["content_type"]
        body = base64.b64encode(content).decode()
        return self.do("request", last=last, method=method, path=path, token=token, body=body, **headers)

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout
        while line := self._process.stdout.readline():
            with contextlib.suppress(ValueError):
                return json.loads(line)
        raise AssertionError("the process that forks has ended")


@contextlib.contextmanager
def doer(redis_url: str, home: Path) -> Iterator[Doer]:
    """One while the block runs."""
    steps = Steps()
    with edge(database_url(), steps) as database, edge(redis_url, steps) as redis:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.doing"],
            cwd=ROOT,
            env=environment(database.url, redis.url, home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(home / "doing.log").open("ab"),
        )
        try:
            yield Doer(process, steps)
        finally:
            process.kill()
            process.wait()
            print((home / "doing.log").read_text()[-4000:])


def crash_points(steps: int) -> Iterator[int]:
    """Which of so many steps to crash after; the first and the last among them."""
    yield from range(1, steps, EVERY)
    yield steps
