"""What the control plane has published: who may ask, and what answers. Kept current by pub/sub and by polling."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers.contracts import names
from workers.contracts.snapshot import KeyEntry, Route, Snapshot
from workers.serving.config import POLL_S, STALE_AFTER_S

log = structlog.get_logger(__name__)


class Directory:
    """The snapshot, indexed. `seen` is the monotonic second in which it was last known to be current."""

    def __init__(self) -> None:
        self.version = 0
        self.seen = 0.0
        self.snapshot = Snapshot(version=0, published=0.0, routes=[], keys={})
        self.routes: dict[str, Route] = {}
        self.keys: dict[str, KeyEntry] = {}

    @property
    def is_fresh(self) -> bool:
        """False when Redis has been silent for so long that a key may have been revoked unheard."""
        return self.version > 0 and time.monotonic() - self.seen < STALE_AFTER_S

    def install(self, snapshot: Snapshot) -> None:
        """Use a snapshot from now on."""
        self.snapshot = snapshot
        self.version = snapshot.version
        self.routes = {route.slug: route for route in snapshot.routes}
        self.keys = snapshot.keys


class Watch:
    """Keeps a Directory current. `on_change` is called with each new snapshot."""

    def __init__(self, redis: Redis, directory: Directory, on_change: Callable[[Snapshot], None]) -> None:
        self._redis = redis
        self._directory = directory
        self._on_change = on_change
        self._told = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Watch until cancelled. Redis may come and go."""
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                try:
                    await self.refresh()
                except (RedisError, OSError, TimeoutError, ValidationError) as error:
                    log.warning("snapshot not read", reason=str(error)[:200])
                # A lost message only costs the time to the next poll.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._told.wait()
                self._told.clear()
        finally:
            listener.cancel()

    async def look(self) -> None:
        """Refresh now, for a request that names what is not known: it may have been made a moment ago.

        However many ask, one looks.
        """
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError, ValidationError):
            await self.refresh()

    async def refresh(self) -> None:
        """Compare versions; read and install the snapshot when they differ."""
        asked = time.monotonic()
        version = await self._redis.get(names.SNAPSHOT_VERSION)
        if version is None or int(version) != self._directory.version:
            text = await self._redis.get(names.SNAPSHOT)
            if text is None:
                # Never published, or lost: the control plane repeats it every few seconds. Until then ours grows old.
                return
            snapshot = Snapshot.model_validate_json(text)
            if snapshot.version != self._directory.version:
                self._directory.install(snapshot)
                self._on_change(snapshot)
                log.info("snapshot", version=snapshot.version, routes=len(snapshot.routes), keys=len(snapshot.keys))
        self._directory.seen = asked

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(names.SNAPSHOT_CHANNEL)
                    self._told.set()  # something may have been said while nobody listened
                    while True:
                        if await channel.get_message(timeout=5.0) is not None:
                            self._told.set()
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(0.5)
