"""Runs a set of processes: prints their lines under their names, starts crashed ones again, and stops all of them.

Not honcho, whose manager ends everything when one process ends, and leaves orphans when it is killed itself.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway.children import below, dies_with_parent, kill, reap

CRASHES_ALLOWED = 5  # within CRASH_WINDOW_S
CRASH_WINDOW_S = 60.0
LONGEST_PAUSE_S = 15.0
LONGEST_LINE = 1 << 20


# write(name, line, quiet)
Write = Callable[[str, str, bool], None]


class TooManyCrashes(Exception):
    """A child cannot be kept running."""


@dataclass(slots=True)
class Child:
    """A process to keep running. `options` are arguments for subprocess that replace the usual ones."""

    name: str
    command: list[str]
    env: dict[str, str] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    patience_s: float = 15.0  # from the stop signal to SIGKILL
    quiet: bool = False  # its lines go to its log file alone
    options: dict[str, Any] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    crashes: deque[float] = field(default_factory=deque)

    @property
    def alive(self) -> bool:
        """Whether the process runs now."""
        return self.process is not None and self.process.returncode is None


class Supervisor:
    """Keeps children running. Use from one event loop in the main thread: a child dies with the thread that made it.

    Until it is `patient`, a child that crashes again and again ends it: something is wrong with the installation. Then,
    that has run well, it is started again however often it takes: what it needs may be away for any time.
    """

    def __init__(self, write: Write) -> None:
        self.write = write
        self.children: list[Child] = []
        self.stopping = self.patient = False
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._not_ours = {process.pid for process in below()}

    async def start(self, child: Child) -> None:
        """Start a child and keep it running from now on."""
        self.children.append(child)
        await self._spawn(child)
        self._tasks.append(asyncio.create_task(self._keep(child)))

    async def _spawn(self, child: Child) -> None:
        options: dict[str, Any] = {
            "env": child.env,
            "start_new_session": True,  # a Ctrl-C in the terminal reaches us alone, and we stop them in order
            "preexec_fn": dies_with_parent(signal.SIGKILL),
            **child.options,
        }
        # A pipe of our own: with asyncio's, waiting for the process would also wait for whoever inherited its output.
        read, write = os.pipe()
        try:
            child.process = await asyncio.create_subprocess_exec(
                *child.command, stdin=asyncio.subprocess.DEVNULL, stdout=write, stderr=write, **options
            )
        finally:
            os.close(write)
        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb", 0)
        )
        self._tasks.append(asyncio.create_task(self._relay(child, reader)))

    async def _relay(self, child: Child, reader: asyncio.StreamReader) -> None:
        """Print a child's lines until its output is closed."""
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than LONGEST_LINE: the reader has thrown it away
                line = b"(a line too long to show)\n"
            if not line:
                return
            self.write(child.name, line.decode("utf-8", "replace").rstrip(), child.quiet)

    async def _keep(self, child: Child) -> None:
        try:
            while not self.stopping:
                assert child.process
                code = await child.process.wait()
                if not self.stopping:
                    await self._restart(child, code)
        except Exception as error:  # also what we did not think of: a child that nobody keeps must not go unnoticed
            if not self.failure.done():
                self.failure.set_exception(error)

    async def _restart(self, child: Child, code: int) -> None:
        now = time.monotonic()
        child.crashes.append(now)
        while child.crashes[0] < now - CRASH_WINDOW_S:
            child.crashes.popleft()
        said = f"{child.name} ended with {describe_exit(code)}"
        if len(child.crashes) >= CRASHES_ALLOWED and not self.patient:
            raise TooManyCrashes(f"{said}, the {CRASHES_ALLOWED}th time within a minute.")
        pause = min(LONGEST_PAUSE_S, 0.25 * 2 ** (len(child.crashes) - 1))
        self._say(f"{said}; starting it again in {pause:g} s")
        await asyncio.sleep(pause)
        if not self.stopping:
            await self._spawn(child)
            assert child.process
            self._say(f"{child.name} runs again (pid {child.process.pid})")
        reap(self._pids() | self._not_ours)

    async def stop(self, first: list[Child]) -> None:
        """Stop `first` all at once, then what is left, in the opposite order of their start; then leftovers."""
        self.stopping = True
        # Also what they started in sessions of their own, such as the engine of a running job.
        theirs = [process for child in first if child.process for process in below(child.process.pid)]
        await asyncio.gather(*(self._stop(child) for child in first))
        await asyncio.to_thread(kill, theirs)
        for child in reversed(self.children):
            await self._stop(child)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Orphans of children that crashed earlier.
        await asyncio.to_thread(kill, [process for process in below() if process.pid not in self._not_ours])

    def _say(self, line: str) -> None:
        self.write("slipway", line, False)

    def _pids(self) -> set[int]:
        return {child.process.pid for child in self.children if child.process}

    async def _stop(self, child: Child) -> None:
        if not child.alive or not child.process:
            return
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(child.stop_signal)
        try:
            await asyncio.wait_for(child.process.wait(), child.patience_s)
        except TimeoutError:
            self._say(f"{child.name} did not stop within {child.patience_s:g} s and is killed")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            await child.process.wait()


def describe_exit(code: int) -> str:
    """An exit status in words: "exit code 1", "SIGKILL"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def line_writer(folder: Path) -> Write:
    """Prints "name | line", unless it is quiet, and appends the line to folder/name.log, started anew at 10 MB."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(name: str, line: str, quiet: bool = False) -> None:
        if not quiet:
            with contextlib.suppress(OSError):  # the console is gone: the log files stay
                print(f"{name:<9}| {line}", flush=True)
        path = folder / f"{name}.log"
        with contextlib.suppress(OSError):
            if path.exists() and path.stat().st_size > 10_000_000:
                path.replace(path.with_suffix(".log.1"))
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    return write
