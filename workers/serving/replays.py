"""Repeated calls: a request that comes again with the same Idempotency-Key gets its first answer, and is counted once.

Whichever process it comes to.
"""

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from typing import Any, Final, NamedTuple

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers.contracts import names
from workers.contracts.errors import UserError
from workers.serving.cycle import Headers

_KEPT_S: Final = 600.0
_MOST: Final = 10_000
_MOST_BYTES: Final = 64 * 2**20
_LONGEST_KEY: Final = 200
# How long Redis is waited for, and how long a call may run: then its process has been killed.
_PATIENCE_S: Final = 0.5
_RUNNING_MS: Final = 120_000

# Whose (API key), which endpoint, whether by the Open Inference Protocol, and the key that the client made up.
Name = tuple[str, str, bool, bytes]
Answer = tuple[bytes, Headers]


class Call(NamedTuple):
    """A call that may come again, and a fingerprint of what it asks."""

    name: Name
    question: bytes


class _Kept(NamedTuple):
    question: bytes
    answer: Answer
    at: float


def question_of(asked: Any) -> bytes:
    """A fingerprint of what was asked."""
    packed = orjson.dumps(asked, default=lambda value: value.hex() if isinstance(value, bytes) else str(value))
    return hashlib.sha256(packed).digest()


class Replays:
    """The answers of the last ten minutes that carried a key. Times are monotonic seconds.

    In memory, and in Redis for the other processes, as long as they are in the memory of the one that made them: so
    neither grows without bound. Without Redis each process knows its own.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._kept: OrderedDict[Name, _Kept] = OrderedDict()
        self._running: set[Name] = set()
        self._bytes = 0

    async def find(self, call: Call, now: float) -> Answer | None:
        """The first answer; None for the first call itself, which `end` has to follow.

        Raises UserError `conflict` where the key was used for another question, or its first call still runs.
        """
        if len(call.name[-1]) > _LONGEST_KEY:
            raise UserError("bad_request", f"The Idempotency-Key is longer than {_LONGEST_KEY} bytes.")
        if call.name in self._running:
            raise _still_runs()
        kept = self._kept.get(call.name)
        if kept is not None and now - kept.at < _KEPT_S:
            if kept.question != call.question:
                raise _other_question()
            return kept.answer
        self._running.add(call.name)
        try:
            before = await self._find_elsewhere(call)
        except BaseException:
            self._running.discard(call.name)
            raise
        if before is not None:
            self._running.discard(call.name)
        return before

    async def keep(self, call: Call, answer: Answer, now: float) -> None:
        """What the first call is about to be answered. Nobody gets it here before `end`."""
        gone = [_redis_name(name) for name in self._forget(now)]
        self._kept[call.name] = _Kept(call.question, answer, now)
        self._bytes += len(answer[0])
        body, headers = answer
        head = orjson.dumps([[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers])
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                packed = call.question + head + b"\n" + body
                await self._redis.set(_redis_name(call.name), packed, px=int(_KEPT_S * 1000))
                if gone:
                    await self._redis.delete(*gone)

    async def end(self, call: Call, *, answered: bool) -> None:
        """The first call is over. If it was not answered, the next one with its key is tried anew."""
        if not answered:
            if (kept := self._kept.pop(call.name, None)) is not None:
                self._bytes -= len(kept.answer[0])
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._redis.delete(_redis_name(call.name))
        self._running.discard(call.name)

    async def _find_elsewhere(self, call: Call) -> Answer | None:
        """What another process answered, or None and the call is marked as running here. Raises UserError."""
        name = _redis_name(call.name)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if await self._redis.set(name, call.question, nx=True, px=_RUNNING_MS):
                    return None
                found: Any = await self._redis.get(name)
        except (RedisError, OSError, TimeoutError):
            return None
        if found is None:
            return None
        question, answer = found[: len(call.question)], found[len(call.question) :]
        if question != call.question:
            raise _other_question()
        if not answer:
            raise _still_runs()
        head, _, body = answer.partition(b"\n")
        return body, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(head)]

    def _forget(self, now: float) -> list[Name]:
        """Make room; the names of answers that go before their time."""
        early = []
        while self._kept:
            name, oldest = next(iter(self._kept.items()))
            is_old = now - oldest.at >= _KEPT_S
            if not is_old and len(self._kept) < _MOST and self._bytes < _MOST_BYTES:
                break
            del self._kept[name]
            self._bytes -= len(oldest.answer[0])
            if not is_old:
                early.append(name)
        return early


def _redis_name(name: Name) -> str:
    return names.call_key(question_of(name).hex())


def _still_runs() -> UserError:
    return UserError("conflict", "The first call with this Idempotency-Key still runs.", hint="Wait for it.")


def _other_question() -> UserError:
    return UserError("conflict", "This Idempotency-Key was used for other inputs.", hint="Make a new one.")
