"""Repeated calls: a request that comes again with the same Idempotency-Key gets its first answer, and is counted once.

Kept in the memory of this process: after a restart a repeated call is a new one.
"""

import hashlib
from collections import OrderedDict
from typing import Any, Final, NamedTuple

import orjson

from workers.contracts.errors import UserError
from workers.serving.cycle import Headers

_KEPT_S: Final = 600.0
_MOST: Final = 10_000
_MOST_BYTES: Final = 64 * 2**20
_LONGEST_KEY: Final = 200

# Whose (API key), which endpoint, whether by the Open Inference Protocol, and the key that the client made up.
Name = tuple[str, str, bool, bytes]


class Call(NamedTuple):
    """A call that may come again, and a fingerprint of what it asks."""

    name: Name
    question: bytes


class _Kept(NamedTuple):
    question: bytes
    answer: tuple[bytes, Headers]
    at: float


def question_of(asked: Any) -> bytes:
    """A fingerprint of what was asked."""
    packed = orjson.dumps(asked, default=lambda value: value.hex() if isinstance(value, bytes) else str(value))
    return hashlib.sha256(packed).digest()


class Replays:
    """The answers of the last ten minutes that carried a key. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Name, _Kept] = OrderedDict()
        self._running: set[Name] = set()
        self._bytes = 0

    def find(self, call: Call, now: float) -> tuple[bytes, Headers] | None:
        """The first answer; None for the first call itself, which `end` has to follow.

        Raises UserError `conflict` where the key was used for another question, or its first call still runs.
        """
        if len(call.name[-1]) > _LONGEST_KEY:
            raise UserError("bad_request", f"The Idempotency-Key is longer than {_LONGEST_KEY} bytes.")
        self._forget(now)
        kept = self._kept.get(call.name)
        if kept is not None:
            if kept.question != call.question:
                raise UserError("conflict", "This Idempotency-Key was used for other inputs.", hint="Make a new one.")
            return kept.answer
        if call.name in self._running:
            raise UserError("conflict", "The first call with this Idempotency-Key still runs.", hint="Wait for it.")
        self._running.add(call.name)
        return None

    def keep(self, call: Call, answer: tuple[bytes, Headers], now: float) -> None:
        """What the first call was answered."""
        self._kept[call.name] = _Kept(call.question, answer, now)
        self._bytes += len(answer[0])

    def end(self, call: Call) -> None:
        """The first call is over. If nothing was kept of it, the next one with its key is tried anew."""
        self._running.discard(call.name)

    def _forget(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if now - oldest.at < _KEPT_S and len(self._kept) < _MOST and self._bytes < _MOST_BYTES:
                return
            self._bytes -= len(self._kept.popitem(last=False)[1].answer[0])
