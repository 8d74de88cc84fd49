"""What is deleted for good is deleted by the clock on the wall: one that has jumped ahead must not empty the house."""

import time
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

import structlog

from apps.core import redis_client

log = structlog.get_logger(__name__)

# Longer than the longest pause between two turns of a task.
_MOST_S: Final = 3 * 86_400

_P = ParamSpec("_P")
_R = TypeVar("_R")


def seen_twice(task: Callable[_P, _R]) -> Callable[_P, _R | None]:
    """A periodic task that does its work only where its last turn was at about this time, too; else at its next.

    So a clock that is put right within a turn deletes nothing. Raises redis.RedisError.
    """
    key = f"slipway:turn:{task.__module__}.{task.__qualname__}"

    @wraps(task)
    def careful(*args: _P.args, **kwargs: _P.kwargs) -> _R | None:
        now = time.time()
        last = redis_client.client().set(key, now, get=True)
        if last is None or not 0 <= now - float(str(last)) < _MOST_S:
            log.warning("deletion_put_off", task=key, last=last)
            return None
        return task(*args, **kwargs)

    return careful
