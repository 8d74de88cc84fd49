"""What may end an attempt from outside: the user's wish, a lost lease, the time limit, a runner that has to stop."""

import contextlib
import threading
import time
from typing import Final, Literal

import redis

from workers.contracts import names
from workers.contracts.errors import InfraError
from workers.runner.lease import Lease

Verdict = Literal["cancelled", "lost", "time_limit", "stopped"]

_TICK_S: Final = 1.0


class Warden(threading.Thread):
    """Renews the lease and watches for the end, in a thread of its own. The first verdict stands.

    Where Redis does not answer, training goes on, and whatever this attempt writes lies under its own prefix. Redis may
    be silent to us alone: once the lease has run out, the store is asked whether the job was given to another attempt.
    """

    def __init__(
        self,
        client: redis.Redis,
        lease: Lease,
        job: str,
        *,
        time_limit_s: float,
        stopping: threading.Event,
        tick_s: float = _TICK_S,
    ) -> None:
        super().__init__(name="warden", daemon=True)
        self._client, self._lease, self._job = client, lease, job
        self._stopping = stopping
        self._tick_s = tick_s
        # Monotonic: a clock that is set changes nothing.
        self._deadline = time.monotonic() + time_limit_s
        self._renew_at = time.monotonic() + names.LEASE_RENEW_S
        self._runs_out_at = time.monotonic() + names.LEASE_TTL_S
        self._verdict: Verdict | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        # Set with the verdict: whoever waits may wait on it.
        self.has_spoken = threading.Event()

    @property
    def verdict(self) -> Verdict | None:
        """Why the attempt has to end; None while it may go on."""
        if self._verdict is None and self._stopping.is_set():
            self._say("stopped")
        return self._verdict

    @property
    def is_lost(self) -> bool:
        """Whether somebody else has the job now: then nothing more may be said or stored."""
        return self._verdict == "lost"

    def close(self) -> None:
        """The attempt is over: watch and renew no more."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look once a second."""
        while not self._over.is_set():
            if self.verdict is None and time.monotonic() > self._deadline:
                self._say("time_limit")
            try:
                self._ask_redis()
            except redis.RedisError:
                self._ask_store()
            except InfraError:
                pass  # the lease has run out, and the store cannot say whether it may be taken again: later
            self._over.wait(self._tick_s)

    def _ask_redis(self) -> None:
        if self._client.exists(names.cancel_key(self._job)):
            self._say("cancelled")
        if time.monotonic() >= self._renew_at:
            if not self._lease.renew():
                self._say("lost")
            self._renew_at = time.monotonic() + names.LEASE_RENEW_S
            self._runs_out_at = time.monotonic() + names.LEASE_TTL_S

    def _ask_store(self) -> None:
        if time.monotonic() < self._runs_out_at:
            return
        self._runs_out_at = time.monotonic() + names.LEASE_RENEW_S  # when to ask again
        with contextlib.suppress(InfraError):
            if not self._lease.is_current():
                self._say("lost")

    def _say(self, verdict: Verdict) -> None:
        with self._lock:
            # A lost lease silences everything that was to be said.
            if self._verdict is None or verdict == "lost":
                self._verdict = verdict
        self.has_spoken.set()
