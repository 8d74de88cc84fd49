"""What the control plane has published: who may ask, and what answers. Kept current by pub/sub and by polling.

The last one is also kept on disk: a process that starts while Redis is away serves what it says.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers.contracts import names
from workers.contracts.snapshot import KeyEntry, Route, Snapshot
from workers.serving.config import POLL_S

log = structlog.get_logger(__name__)

# How often the file says that its snapshot is still current, in seconds.
_TOUCH_S = 10.0
# After so many seconds without a look a revoked key must have been noticed.
_LATE_S = 1.0


class Directory:
    """The snapshot, indexed. `seen` is the monotonic second in which it was last known to be current.

    It is believed for `offline_s` seconds more while Redis is silent. Meanwhile no key can be revoked: whoever tries is
    told so.
    """

    def __init__(self, offline_s: float) -> None:
        self._offline_s = offline_s
        self.version = 0
        self.seen = 0.0
        self.snapshot = Snapshot(version=0, published=0.0, routes=[], keys={})
        self.routes: dict[str, Route] = {}
        self.keys: dict[str, KeyEntry] = {}
        # Web origin → the keys that its pages may use.
        self.by_origin: dict[str, list[KeyEntry]] = {}

    @property
    def is_fresh(self) -> bool:
        """False when there is no snapshot, or Redis has been silent for too long to believe it."""
        return self.version > 0 and time.monotonic() - self.seen < self._offline_s

    def install(self, snapshot: Snapshot) -> None:
        """Use a snapshot from now on."""
        self.snapshot = snapshot
        self.version = snapshot.version
        self.routes = {route.slug: route for route in snapshot.routes}
        self.keys = snapshot.keys
        self.by_origin = {}
        for key in snapshot.keys.values():
            for origin in key.origins:
                self.by_origin.setdefault(origin, []).append(key)


class Kept:
    """The last snapshot on disk. Its modification time is when it was last known to be current."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._touched = 0.0

    def save(self, snapshot: Snapshot) -> None:
        """Replace the file as a whole. A disk that is full costs a later start without Redis, nothing now."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".snapshot-")  # mode 600
            with os.fdopen(descriptor, "wb") as file:
                file.write(snapshot.model_dump_json().encode())
            os.replace(temporary, self._path)
        except OSError as error:
            log.warning("snapshot not kept", reason=str(error)[:200])
        self._touched = time.monotonic()

    def confirm(self) -> None:
        """It is still current."""
        if time.monotonic() - self._touched > _TOUCH_S:
            self._touched = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def read(self) -> tuple[Snapshot, float] | None:
        """The snapshot, and how many seconds ago it was current; None where there is none."""
        try:
            age = max(0.0, time.time() - self._path.stat().st_mtime)
            return Snapshot.model_validate_json(self._path.read_bytes()), age
        except (OSError, ValidationError):
            return None


class Watch:
    """Keeps a Directory current. `on_change` is called with each new snapshot."""

    def __init__(self, redis: Redis, directory: Directory, kept: Kept, on_change: Callable[[Snapshot], None]) -> None:
        self._redis = redis
        self._directory = directory
        self._kept = kept
        self._on_change = on_change
        # Whether Redis has answered what it was last asked; and whether it has, or may still.
        self.in_touch = self._answered = False
        self._told = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_late(self) -> bool:
        """Whether a look is overdue though Redis answered the last one: the process was stopped or had no time.

        What it knows may be over: whoever is to be let in has to be looked up anew.
        """
        return self._answered and time.monotonic() - self._directory.seen > _LATE_S

    async def begin(self) -> None:
        """Look for the first time; where Redis is away, take what was last known."""
        await self.look()
        if not self._directory.version and (found := self._kept.read()):
            snapshot, age = found
            self._install(snapshot)
            self._directory.seen = time.monotonic() - age
            log.warning("snapshot from disk", version=snapshot.version, age_s=round(age))

    async def run(self) -> None:
        """Watch until cancelled. Redis may come and go."""
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                try:
                    await self.refresh()
                except (RedisError, OSError, TimeoutError, ValidationError) as error:
                    self._answered = self.in_touch
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
        self.in_touch = False
        version = await self._redis.get(names.SNAPSHOT_VERSION)
        self.in_touch = self._answered = True
        if version is None or int(version) != self._directory.version:
            text = await self._redis.get(names.SNAPSHOT)
            if text is None:
                # Never published, or lost: the control plane repeats it every few seconds. Until then ours grows old.
                return
            snapshot = Snapshot.model_validate_json(text)
            if snapshot.version != self._directory.version:
                self._install(snapshot)
                self._kept.save(snapshot)
                log.info("snapshot", version=snapshot.version, routes=len(snapshot.routes), keys=len(snapshot.keys))
        self._directory.seen = asked
        self._kept.confirm()

    def _install(self, snapshot: Snapshot) -> None:
        self._directory.install(snapshot)
        self._on_change(snapshot)

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
