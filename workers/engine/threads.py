"""How many threads train on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

_LOOK_S = 0.2
# Percent of all cores.
_BUSY = 25.0


def choose() -> int:
    """All threads, or half of them where other processes keep over a quarter of the cores busy just now.

    The threads of one training wait for each other many times in a step. If one of them has to share its core, all are
    slowed down by far more than that share; fewer threads on cores of their own are then the faster ones.
    """
    threads = torch.get_num_threads()
    if threads == 1 or psutil.cpu_percent(_LOOK_S) < _BUSY:
        return threads
    return max(1, threads // 2)


@contextmanager
def kept() -> Iterator[None]:
    """Whatever is chosen inside, the number of threads is afterwards what it was."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
