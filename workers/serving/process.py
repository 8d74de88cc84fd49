"""Everything that one serving process holds, and its background work."""

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from workers.contracts import names
from workers.contracts.errors import InfraError
from workers.contracts.snapshot import RouteRevision, ServingStatus, Snapshot
from workers.inference.core import Predictor
from workers.serving import threads
from workers.serving.access_log import AccessLog
from workers.serving.bodies import Budget
from workers.serving.config import Config
from workers.serving.counts import Counts
from workers.serving.explaining import Explainer
from workers.serving.limits import Limits
from workers.serving.loader import Models
from workers.serving.metering import Meter
from workers.serving.observer import Observer
from workers.serving.replays import Replays
from workers.serving.shadow import Shadows
from workers.serving.sharing import Sharing
from workers.serving.snapshot import Directory, Kept, Watch
from workers.serving.spool import Spool
from workers.serving.trial import Trial
from workers.serving.turns import Turns
from workers.storage import open_storage

if TYPE_CHECKING:
    from workers.serving.tracing import Tracer

log = structlog.get_logger(__name__)

_STATUS_EVERY_S = 1.0
_TAKE_OVER_EVERY_S = 5.0


class Process:
    """Made inside the event loop that serves."""

    def __init__(self, config: Config, trial: Trial) -> None:
        self.config = config
        self.name = f"srv-{secrets.token_hex(4)}"
        self.redis = Redis.from_url(config.redis_url, socket_timeout=2.0, socket_connect_timeout=1.0)
        self.directory = Directory(config.offline_s)
        self.watch = Watch(self.redis, self.directory, Kept(config.cache / "snapshot.json"), self._on_snapshot)
        self.limits = Limits()
        self._sharing = Sharing(self.redis, self.limits, self.name)
        spool = Spool(config.spool, self.name, max_bytes=config.spool_bytes, fsync=config.spool_fsync)
        self.meter = Meter(config.redis_url, spool, Counts(self.name))
        self.clock = asyncio.get_running_loop().time
        self.turns = Turns()
        self.models = Models(
            open_storage(config.storage),
            config.cache,
            config.memory,
            trial,
            config.cores,
            lambda: self.turns.taken(self.clock()),
        )
        self.shadows = Shadows(self.name, self.meter, self._predictor_of)
        self.observer = Observer(AccessLog(config.access_log), _tracer(config, self.name))
        self.bodies = Budget()
        self.replays = Replays(self.redis)
        self.parsing = threads.pool(2, "parse")
        self.explainer = Explainer()
        # Set when the process is about to end: no longer ready, but still answering.
        self.draining = False
        self._hosts = config.hosts
        self._known_hosts = {host.encode() for host in config.hosts}
        self._work: list[asyncio.Task[None]] = []
        self._ready_once = False

    def knows_host(self, value: bytes) -> bool:
        """Whether a Host header names this server. Anything else is a browser that was led here."""
        if value in self._known_hosts:
            return True
        name, _, port = value.decode("latin-1").lower().rpartition(":")
        if port.isdigit() and name in self._hosts:
            # What came once comes again; ports are few, and only known names get here.
            if len(self._known_hosts) < 1000:
                self._known_hosts.add(value)
            return True
        return False

    async def start(self) -> None:
        """Begin to watch, to load and to say how it goes.

        The first look comes before the first request: nobody is told that keys are unknown which are merely unread.
        """
        await self.watch.begin()
        background = (self.watch.run(), self.models.run(), self.shadows.tell(), self._tell(), self._take_over())
        for work in (*background, self._sharing.tell(), self._sharing.hear()):
            task = asyncio.create_task(work)
            task.add_done_callback(_complain)
            self._work.append(task)

    def _on_snapshot(self, snapshot: Snapshot) -> None:
        self.limits.update(snapshot, self.clock())
        self.models.update(snapshot)

    def _predictor_of(self, revision: RouteRevision) -> Predictor | None:
        served = self.models.served(revision)
        return served.loaded.predictor if served else None

    def not_ready_because(self) -> str | None:
        """Why no traffic should come here now; None when it should."""
        if self.draining:
            return "shutting down"
        if not self.directory.is_fresh:
            return "there are no current routes and keys"
        # Only at the start: a model that is added later must not take the others out of service.
        self._ready_once = self._ready_once or self.models.settled
        return None if self._ready_once else "loading models"

    async def _tell(self) -> None:
        """Say what this process has loaded (ServingStatus), every second and at each change."""
        key = names.serving_key(self.name)
        try:
            while True:
                self.models.news.clear()
                status = ServingStatus(
                    process=self.name,
                    version=self.directory.version,
                    revisions=self.models.status(),
                    time=time.time(),
                    counts=self.meter.counts.told(),
                )
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    async with self.redis.pipeline() as pipeline:
                        pipeline.set(key, status.model_dump_json(), ex=names.SERVING_TTL_S)
                        pipeline.sadd(names.SERVERS, self.name)
                        await pipeline.execute()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STATUS_EVERY_S):
                        await self.models.news.wait()
        finally:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self.redis.delete(key)
                await self.redis.srem(names.SERVERS, self.name)

    async def _take_over(self) -> None:
        """Deliver what processes that were killed could not."""
        while True:
            if self.watch.in_touch:
                with contextlib.suppress(InfraError):
                    await self.meter.take_over(self.config.spool)
            await asyncio.sleep(_TAKE_OVER_EVERY_S)

    async def stop(self) -> None:
        """Write what is left and hang up."""
        # Again and again: before Python 3.12 a cancellation can be lost in asyncio.wait_for, which redis-py uses.
        while running := [task for task in self._work if not task.done()]:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=1.0)
        self.shadows.close()
        await self.meter.close()
        await self.observer.stop()
        self.models.close()
        self.explainer.close()
        self.parsing.shutdown(wait=False, cancel_futures=True)
        await self.redis.aclose()


def _tracer(config: Config, name: str) -> "Tracer | None":
    if not config.traces:
        return None
    from workers.serving.tracing import Tracer  # OpenTelemetry is loaded only where it is used

    return Tracer(name)


def _complain(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("background work ended", exc_info=error)
