"""What each serving process has let in, told to the others: so limits hold over all of them, within a second.

Every process counts by itself and says some times a second, by Redis pub/sub, what it has let in since; the others take
that off as if it had been their own. A process that used up more than was left together with the others owes it: over
any few seconds the rate is the limit's. Without Redis each process counts alone.
"""

import asyncio
import contextlib
from typing import Final

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers.contracts import names
from workers.serving.limits import Limits

log = structlog.get_logger(__name__)

_TELL_EVERY_S: Final = 0.1
_AGAIN_S: Final = 0.5


class Sharing:
    """Tells and hears."""

    def __init__(self, redis: Redis, limits: Limits, process: str) -> None:
        self._redis = redis
        self._limits = limits
        self._process = process
        self._clock = asyncio.get_running_loop().time

    async def tell(self) -> None:
        """Say what has been let in here, until cancelled."""
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            if taken := self._limits.untold():
                # What cannot be said is not said later: it would be charged for a time that is over.
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    await self._redis.publish(names.LIMITS_CHANNEL, orjson.dumps([self._process, taken]))

    async def hear(self) -> None:
        """Take off what has been let in elsewhere, until cancelled. Redis may come and go."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(names.LIMITS_CHANNEL)
                    while True:
                        message = await channel.get_message(timeout=5.0)
                        if message is not None:
                            self._heard(message["data"])
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(_AGAIN_S)

    def _heard(self, data: bytes) -> None:
        try:
            process, taken = orjson.loads(data)
            if process != self._process:
                self._limits.hear({str(name): int(count) for name, count in taken.items()}, self._clock())
        except (ValueError, TypeError, AttributeError):
            log.warning("not understood", channel=names.LIMITS_CHANNEL)
