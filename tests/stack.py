"""The whole product, started as a user starts it. The fixture `stack` is shared by the session."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
READY = "Slipway is ready: "


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def command_of(process: psutil.Process) -> str:
    """Its command line; empty where it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@dataclass
class Stack:
    """A running Slipway, with what is in its demo.json."""

    home: Path
    process: "subprocess.Popen[str]"
    url: str = ""
    predict_url: str = ""
    email: str = ""
    password: str = ""
    token: str = ""
    lines: list[str] = field(default_factory=list)
    said_ready: threading.Event = field(default_factory=threading.Event)

    def children(self) -> dict[str, psutil.Process]:
        """Every process below, by what its command line says it is; {} when it has stopped."""
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return {}
        # Parents come first, and a fork bears its parent's name: the first of a name is the process that is meant.
        named = {command_of(process): process for process in reversed(below)}
        named.pop("", None)
        return named

    def child(self, part: str) -> psutil.Process:
        """The one process whose command line contains `part`."""
        (found,) = [process for command, process in self.children().items() if part in command]
        return found

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 60) -> int:
        """Stop it; the exit code. Fails where a process below it is left."""
        below = list(self.children().values())
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        _, left = psutil.wait_procs(below, timeout=10)
        assert not left, f"processes left behind: {left}"
        return code

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if READY in line:
                self.said_ready.set()
        self.said_ready.set()  # it ended: whoever waits looks at the exit code


def start(home: Path, *, timeout_s: float = 180, **variables: str) -> Stack:
    """Start Slipway in a home, on free ports, and wait until it says that it is ready."""
    port, predict_port = free_ports(2)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    for name in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"):
        environ.pop(name, None)
    environ |= {"SLIPWAY_HOME": str(home), "SLIPWAY_PORT": str(port), "SLIPWAY_PREDICT_PORT": str(predict_port)}
    environ |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}", **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "slipway.processes", "--end-with-parent"],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    stack = Stack(home, process)
    threading.Thread(target=stack._read, daemon=True).start()
    ready = stack.said_ready.wait(timeout_s)
    if not ready or process.poll() is not None or not any(READY in line for line in stack.lines):
        process.terminate()
        raise AssertionError("Slipway did not start:\n" + "\n".join(stack.lines[-200:]))
    stack.url, stack.predict_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{predict_port}"
    if (home / "demo.json").exists():  # not with a database of one's own
        for name, value in json.loads((home / "demo.json").read_text()).items():
            setattr(stack, name, value)
    return stack


@contextlib.contextmanager
def running(home: Path, **variables: str) -> Iterator[Stack]:
    """Slipway while the block runs."""
    stack = start(home, **variables)
    try:
        yield stack
    finally:
        if stack.process.poll() is None:
            stack.stop()


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The whole product, in an empty home. Its logs are kept where a test of the session failed."""
    home = Path(tempfile.mkdtemp(prefix="slipway-stack-"))
    # 127.0.0.2 stands for the internet.
    with running(home, SLIPWAY_IMPORT_NETWORKS="127.0.0.2/32") as started:
        yield started
    if request.session.testsfailed:
        kept = ROOT / "test-results" / f"stack-{int(time.time())}.log"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("\n".join(started.lines), encoding="utf-8")
        print(f"\nThe logs of Slipway: {kept}")
    else:
        shutil.rmtree(home, ignore_errors=True)
