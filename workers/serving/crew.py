"""Threads that work for the event loop, and tell it by a pipe.

`call_soon_threadsafe` wakes the loop while the thread holds the interpreter: on a busy core the loop begins, waits for
it, and the core goes to and fro. A write to a pipe lets go of the interpreter first: the loop begins at once, and the
thread goes on when the loop has nothing left to do. An executor's futures would cost as much again.
"""

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from io import FileIO
from queue import Empty, SimpleQueue
from typing import Final, Self

import structlog

from workers.serving import threads

log = structlog.get_logger(__name__)

_RINGS: Final = 4096

Then = Callable[[], None]
# Runs in a thread; what it returns is called in the event loop. It must not raise.
Work = Callable[[], Then]


class Crew:
    """So many threads at most, each of which is started when it is needed. Made and used inside an event loop."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._done: deque[Then] = deque()
        ear, bell = os.pipe()
        os.set_blocking(ear, False)
        # Unbuffered files rather than numbers: they close when the last thread has ended.
        self._ear, self._bell = FileIO(ear, "rb"), FileIO(bell, "wb")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(ear, self._hear)

    def submit(self, work: Work) -> None:
        """Have some work done."""
        self._busy += 1
        if self._busy > len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name=f"{self._name}_{len(self._threads)}")
            self._threads.append(thread)
            thread.start()
        self._work.put(work)

    def _run(self) -> None:
        threads.step_back()
        while (work := self._work.get()) is not None:
            self._done.append(work())
            del work  # what it names may be a model that nobody wants any more
            self._bell.write(b"!")

    def _hear(self) -> None:
        self._ear.read(_RINGS)
        while self._done:
            self._busy -= 1
            try:
                self._done.popleft()()
            except Exception:  # one that stumbles may not keep the others waiting
                log.exception("unhandled")

    def close(self) -> None:
        """Let the threads end when they have done what they have begun. Nobody is told any more."""
        self._loop.remove_reader(self._ear.fileno())
        with contextlib.suppress(Empty):
            while True:
                self._work.get_nowait()
        for _ in self._threads:
            self._work.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for thread in self._threads:
            thread.join()
        self._ear.close()
        self._bell.close()
