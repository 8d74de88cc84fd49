"""How often somebody may begin something: generous bounds on loops that have gone wrong, per person and minute.

Signing in, signing up and mail about accounts are bounded by allauth (ACCOUNT_RATE_LIMITS), per address and client.
"""

import contextlib
import time
from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from django.core.cache import cache
from redis.exceptions import RedisError

from workers.contracts.errors import UserError

PER_MINUTE: Final = {"dataset": 120, "invitation": 60, "job": 120, "key": 60, "token": 60}
_MINUTE: Final = 60
clock = time.time

_P = ParamSpec("_P")
_R = TypeVar("_R")


def throttled(noun: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """An action (keyword-only, with an `actor`) that makes a `noun` of PER_MINUTE. It raises UserError `rate_limited`
    as well."""

    def decorate(action: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(action)
        def bounded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            take(str(kwargs["actor"].pk), noun)  # type: ignore[attr-defined]
            return action(*args, **kwargs)

        return bounded

    return decorate


def take(user: str, noun: str) -> None:
    """Count one. Raises UserError `rate_limited` where a minute's are used up; without Redis nothing is bounded."""
    now = clock()
    key = f"throttle:{noun}:{user}:{int(now // _MINUTE)}"
    with contextlib.suppress(RedisError, OSError, ValueError):  # ValueError: it has expired just now
        cache.add(key, 0, _MINUTE)
        if cache.incr(key) > PER_MINUTE[noun]:
            raise UserError("rate_limited", retry_after=_MINUTE - int(now % _MINUTE))
