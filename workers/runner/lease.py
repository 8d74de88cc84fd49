"""The lease: at most one runner works on a job. The attempt is the fencing token: a higher one takes over."""

from collections.abc import Callable

import redis

from workers.contracts import names


class Lease:
    """The claim of one runner on one attempt. Every method raises redis.RedisError where Redis does not answer.

    `is_current` asks the spec in storage whether this attempt is still the one that is wanted; InfraError where the
    store does not answer either.
    """

    def __init__(
        self, client: redis.Redis, job: str, attempt: int, runner: str, is_current: Callable[[], bool]
    ) -> None:
        self._client = client
        self._key = names.lease_key(job)
        self._attempt = attempt
        self._value = f"{attempt}:{runner}".encode()
        self.is_current = is_current

    def take(self) -> bool:
        """Take the lease; False where another runner holds it for this attempt or a later one."""
        if self._client.set(self._key, self._value, nx=True, ex=names.LEASE_TTL_S):
            return True
        return self._replace(lambda holder: holder is None or _attempt(holder) < self._attempt)

    def renew(self) -> bool:
        """Renew the lease; False where it is lost for good.

        Where it has merely run out (Redis was away, or we were stopped for a while) it is taken again, unless the job
        has been given to another attempt meanwhile.
        """
        if self._replace(lambda holder: holder == self._value):
            return True
        if self._client.get(self._key) is not None:
            return False
        return self.is_current() and bool(self._client.set(self._key, self._value, nx=True, ex=names.LEASE_TTL_S))

    def release(self) -> None:
        """Let go, if it is still ours."""
        with self._client.pipeline() as pipeline:
            try:
                pipeline.watch(self._key)
                if pipeline.get(self._key) == self._value:
                    pipeline.multi()
                    pipeline.delete(self._key)
                    pipeline.execute()
            except redis.WatchError:
                return

    def _replace(self, allowed: Callable[[bytes | None], bool]) -> bool:
        """Set the lease if what it holds now is `allowed`; checked and set as one step."""
        with self._client.pipeline() as pipeline:
            try:
                pipeline.watch(self._key)
                holder = pipeline.get(self._key)
                if not allowed(holder if isinstance(holder, bytes) else None):
                    return False
                pipeline.multi()
                pipeline.set(self._key, self._value, ex=names.LEASE_TTL_S)
                pipeline.execute()
            except redis.WatchError:
                return False
            return True


def _attempt(holder: bytes) -> int:
    number = holder.partition(b":")[0]
    return int(number) if number.isdigit() else 0
