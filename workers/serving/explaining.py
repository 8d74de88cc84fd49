"""Explanations at the endpoint: one at a time in a thread of their own, so that predictions keep their pace.

Bounded like predictions: few may wait, nobody waits longer than the deadline, and work ends when the client has left.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from workers.contracts.errors import InfraError, UserError
from workers.inference.core import Predictor
from workers.inference.explain import MAX_ASKED, MAX_EXPLAINED, Explained, can_explain, explain
from workers.serving import threads
from workers.serving.bundles import Loaded
from workers.serving.config import DEADLINE_S, MAX_BATCH

# Requests that wait for the thread or are in it; one more is answered 503.
_MAX_WAITING: Final = 16
# Seconds that one request's explanations should take, by how long a batch took at warm-up: of dear models fewer
# questions are asked. And seconds after which it ends.
_WANTED_S: Final = 8.0
_PATIENCE_S: Final = 20.0
_LEAST_ASKED: Final = 17


def check(predictor: Predictor, count: int) -> None:
    """Whether `count` predictions of this model can be explained in one request. Raises UserError."""
    if not can_explain(predictor):
        raise UserError("input_invalid", "This model's predictions cannot be explained: leave `explain` out.")
    if count > MAX_EXPLAINED:
        raise UserError(
            "too_many_inputs", f"At most {MAX_EXPLAINED} inputs per request with `explain`.", limit=MAX_EXPLAINED
        )


class Explainer:
    """The thread that explains."""

    def __init__(self) -> None:
        self._thread = threads.pool(1, "explain")
        self._waiting = 0

    async def explain(
        self,
        loaded: Loaded,
        items: Sequence[Any],
        predictions: Sequence[dict[str, Any]],
        patience_s: float | None = None,
    ) -> tuple[Explained, float]:
        """The explanations, and the seconds they took. Raises InfraError `overloaded` or `deadline_exceeded`.

        `patience_s`: what is left of the time that the client gives us, waiting included.

        Cancelling it ends the work before its next batch.
        """
        if self._waiting >= _MAX_WAITING:
            raise InfraError("overloaded", retry_after=2)
        self._waiting += 1
        left = threading.Event()
        ends = math.inf if patience_s is None else time.monotonic() + patience_s
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, _explain, loaded, items, predictions, time.monotonic(), ends, left.is_set
            )
        finally:
            left.set()
            self._waiting -= 1

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def questions(typical_s: float, count: int) -> int:
    """How often a model may be asked to explain `count` predictions, if a full batch takes it so many seconds."""
    affordable = int(_WANTED_S * MAX_BATCH / max(typical_s, 1e-6))
    return min(MAX_ASKED, max(affordable, _LEAST_ASKED * count))


def _explain(
    loaded: Loaded,
    items: Sequence[Any],
    predictions: Sequence[dict[str, Any]],
    asked: float,
    ends: float,
    has_left: Callable[[], bool],
) -> tuple[Explained, float]:
    started = time.monotonic()
    if started - asked > DEADLINE_S:
        raise InfraError("deadline_exceeded", retry_after=1)

    def go_on() -> None:
        if has_left() or time.monotonic() > min(ends, started + _PATIENCE_S):
            raise InfraError("deadline_exceeded", "The explanation took too long.", retry_after=1)

    most = questions(loaded.speed.batch_s, len(items))
    return explain(loaded.predictor, items, predictions, go_on, most), time.monotonic() - started
