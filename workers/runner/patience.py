"""Waiting for a store that does not answer: an outage of it costs a job time, not its work."""

import math
import threading
import time
from collections.abc import Callable
from itertools import chain, repeat
from typing import Final

from workers.contracts.errors import InfraError

# Seconds between two tries; the last goes on for ever.
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


def patiently(
    work: Callable[[], object],
    given_up: threading.Event,
    *,
    within_s: float = math.inf,
    final: str = "",
    tell: Callable[[], object] = lambda: None,
) -> bool:
    """Do `work`, again and again while the store fails; False where `given_up` was set before it was done.

    `tell` is called before each pause. Raises InfraError when `within_s` seconds are over, or at once one whose code is
    `final`.
    """
    end = time.monotonic() + within_s
    for pause in chain(PAUSES_S, repeat(PAUSES_S[-1])):
        if given_up.is_set():
            break
        try:
            work()
            return True
        except InfraError as error:
            if error.code == final or time.monotonic() + pause > end:
                raise
        tell()
        given_up.wait(pause)
    return False
