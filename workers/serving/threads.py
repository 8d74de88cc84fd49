"""Threads for what would keep the event loop from the sockets."""

import ctypes
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

# Steps of niceness below the event loop: where both want one core, the loop, which answers everybody, goes first. With
# more, a flood of cheap requests would keep the models of dear ones from it; with none, a model keeps it from all.
_BEHIND: Final = 3
# By ctypes, which releases the interpreter meanwhile; os.sched_yield keeps it.
_YIELD: Final = ctypes.CDLL(None).sched_yield if sys.platform == "linux" else None


def cores() -> int:
    """Cores of the processor that this process may use."""
    # Only Linux binds a process to some of them.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def pool(count: int, name: str, behind: int = _BEHIND) -> ThreadPoolExecutor:
    """So many threads at most, all of which stand behind the event loop, by so many steps."""
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=step_back, initargs=(behind,))


def step_back(behind: int = _BEHIND) -> None:
    """In a thread: stand behind the event loop, by so many steps of niceness."""
    # Only Linux gives each thread a niceness of its own.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + behind)


def give_way() -> None:
    """In a thread that has the core for long: whoever waits for it may have it first.

    Linux does not always take the core from a thread that has just begun; by itself it looks again with the next tick
    of its clock, which comes every 1 to 10 ms.
    """
    if _YIELD is not None:
        _YIELD()
