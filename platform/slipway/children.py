"""Starting child processes that cannot outlive us, and ending them."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


# Loaded now: between fork and exec nothing may be imported or loaded.
_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")


def dies_with_parent(number: int, parent: int | None = None) -> Callable[[], None] | None:
    """A preexec_fn: the kernel sends the child signal `number` when the thread that started it ends, even by SIGKILL.

    A process may also call it for itself, with the pid of its parent. Linux only; elsewhere None, and what is left
    behind is ended by the next start.
    """
    if not sys.platform.startswith("linux"):
        return None
    expected = os.getpid() if parent is None else parent

    def prepare() -> None:
        _prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != expected:  # it died between fork and prctl
            os._exit(1)

    return prepare


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent dies, so that they can be found and buried."""
    if sys.platform.startswith("linux"):
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap(known: set[int]) -> None:
    """Bury adopted orphans that have ended; `known` are children that somebody else waits for."""
    for child in psutil.Process().children():
        if child.pid not in known:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


def below(pid: int | None = None) -> list[psutil.Process]:
    """Every process below one (None: below us); none where it is gone."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def kill(processes: list[psutil.Process]) -> None:
    """Kill what still runs of these, and wait for it. psutil knows a reused pid from the process that had it."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=5)


def end_leftover(pid: int, folder: str, number: int, patience_s: float = 20) -> None:
    """End a server left by an earlier run: the process `pid`, if it works in `folder` (a pid alone may be reused)."""
    try:
        process = psutil.Process(pid)
        if process.cwd() != folder:
            return
        process.send_signal(signal.Signals(number))
        try:
            process.wait(patience_s)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(patience_s)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return
