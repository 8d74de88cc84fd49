"""The supervisor: crashed children come back, hopeless ones end everything, and nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from slipway.supervisor import Child, Supervisor, TooManyCrashes, line_writer
from tests.stack import command_of

ROOT = Path(__file__).resolve().parents[2]
SLEEPS = "import time; print('up', flush=True); time.sleep(600)"


class Lines:
    """What the supervisor writes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str, quiet: bool) -> None:
        self.seen.append((name, line))

    def count(self, name: str, part: str) -> int:
        return sum(1 for n, line in self.seen if n == name and part in line)


async def until(probe: Callable[[], bool]) -> None:
    """Wait until the probe is true."""
    async with asyncio.timeout(20):
        while not probe():  # noqa: ASYNC110 (what we wait for is another process)
            await asyncio.sleep(0.02)


def child(name: str, code: str, **options: float) -> Child:
    return Child(name, [sys.executable, "-c", code], **options)  # type: ignore[arg-type]


async def test_a_crashed_child_is_named_and_started_again() -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    serving = child("serving", SLEEPS)
    await supervisor.start(serving)
    await until(lambda: lines.count("serving", "up") == 1)
    assert serving.process
    first = serving.process.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: lines.count("serving", "up") == 2)
    assert serving.process.pid != first
    assert lines.count("slipway", "serving ended with SIGKILL; starting it again") == 1
    await supervisor.stop([serving])
    assert not serving.alive


async def test_a_child_that_cannot_run_ends_the_supervisor_with_its_name() -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    await supervisor.start(child("recorder", "raise SystemExit(3)"))
    with pytest.raises(TooManyCrashes, match="recorder ended with exit code 3, the 5th time"):
        async with asyncio.timeout(30):
            await supervisor.failure
    await supervisor.stop([])


async def test_what_has_run_well_is_started_again_however_often_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis may be full, or Postgres away, for an hour: that must not end everything else."""
    monkeypatch.setattr("slipway.supervisor.LONGEST_PAUSE_S", 0.01)
    lines = Lines()
    supervisor = Supervisor(lines)
    supervisor.patient = True
    await supervisor.start(child("worker", "raise SystemExit(3)"))
    await until(lambda: lines.count("slipway", "worker ended with exit code 3; starting it again") > 6)
    assert not supervisor.failure.done()
    await supervisor.stop([])


async def test_stopping_leaves_no_process_behind() -> None:
    """A child that ignores SIGTERM, and a grandchild in a session of its own."""
    lines = Lines()
    supervisor = Supervisor(lines)
    stubborn = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        f"{SLEEPS}"
    )
    first, second = child("stubborn", stubborn, patience_s=0.5), child("polite", SLEEPS)
    await supervisor.start(first)
    await supervisor.start(second)
    await until(lambda: lines.count("stubborn", "up") + lines.count("polite", "up") == 2)
    below = psutil.Process().children(recursive=True)
    assert first.process and first.process.pid in [process.pid for process in below]
    ours = [p for p in below if "time.sleep(600)" in command_of(p)]
    assert len(ours) == 3
    await supervisor.stop([first])
    assert lines.count("slipway", "stubborn did not stop within 0.5 s and is killed") == 1
    _, left = psutil.wait_procs(ours, timeout=10)
    assert left == []


def test_children_die_with_a_supervisor_that_is_killed() -> None:
    code = (
        "import asyncio, sys\n"
        "from slipway.supervisor import Child, Supervisor\n"
        "async def main():\n"
        "    supervisor = Supervisor(lambda name, line, quiet: print(line, flush=True))\n"
        f"    await supervisor.start(Child('a', [sys.executable, '-c', {SLEEPS!r}]))\n"
        "    await supervisor.failure\n"
        "asyncio.run(main())\n"
    )
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "up\n"
    below = psutil.Process(process.pid).children(recursive=True)
    assert below
    process.kill()
    process.wait()
    _, left = psutil.wait_procs(below, timeout=10)
    assert left == []


async def test_a_line_too_long_is_not_the_end_of_the_lines() -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    chatty = child("chatty", "print('x' * 3_000_000); print('after', flush=True); import time; time.sleep(600)")
    await supervisor.start(chatty)
    await until(lambda: lines.count("chatty", "after") == 1)
    await supervisor.stop([chatty])


def test_lines_are_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write = line_writer(tmp_path / "logs")
    write("web", "hello", False)
    write("redis", "hello", True)
    printed = capsys.readouterr().out
    assert "web" in printed and "redis" not in printed
    assert [path.read_text() for path in (tmp_path / "logs").iterdir()] == ["hello\n"] * 2
