"""The control plane's connection to Redis."""

from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

Client = redis.Redis
# Redis answers in under a millisecond; whoever waits longer than this waits in vain.
_TIMEOUT_S = 2.0


def client() -> Client:
    """A thread-safe client with text answers. Its calls raise redis.RedisError where Redis does not answer."""
    return _client(settings.REDIS_URL)


@cache
def _client(url: str) -> Client:
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        health_check_interval=30,
        # Once more, at once, where a connection turned out to be closed. The default waits for seconds.
        retry=Retry(NoBackoff(), 1),
    )
