"""Threads for what would keep the event loop from the sockets."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

# Steps of niceness below the event loop: where both want one core, the loop, which answers everybody, goes first.
_BEHIND: Final = 3


def cores() -> int:
    """Cores of the processor that this process may use."""
    # Only Linux binds a process to some of them.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def pool(count: int, name: str, behind: int = _BEHIND) -> ThreadPoolExecutor:
    """So many threads at most, all of which stand behind the event loop, by so many steps."""
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_step_back, initargs=(behind,))


def _step_back(behind: int) -> None:
    # Only Linux gives each thread a niceness of its own.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + behind)
