"""The models of this process: loaded before they are routed to, kept while the snapshot names them."""

import asyncio
import contextlib
import gc
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from workers.contracts.errors import InfraError, JobError, SlipwayError
from workers.contracts.snapshot import Route, RouteRevision, Snapshot
from workers.serving import bundles
from workers.serving.batcher import Batcher
from workers.serving.bundles import Loaded
from workers.storage import Storage

log = structlog.get_logger(__name__)

_RETRY_S = 3.0


@dataclass(frozen=True, slots=True)
class Served:
    """A loaded model with its queue."""

    loaded: Loaded
    batcher: Batcher


class Models:
    """Bundles by sha256. Two revisions with the same bundle share one model."""

    def __init__(self, storage: Storage, cache: Path) -> None:
        self._storage = storage
        self._cache = cache
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._served: dict[str, Served] = {}
        self._failed: dict[str, str] = {}
        self._retry_at: dict[str, float] = {}
        self._wanted: dict[str, RouteRevision] = {}
        self._revisions: dict[str, str] = {}
        self._change = asyncio.Event()
        # Set when a model has become ready or failed: whoever tells others clears it.
        self.news = asyncio.Event()
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._running = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="predict")

    def update(self, snapshot: Snapshot) -> None:
        """Want the bundles that a snapshot names, most traffic first; let the others go.

        A model that goes finishes what is in its queue: its requests hold it.
        """
        revisions = [revision for route in snapshot.routes for revision in route.revisions]
        revisions.sort(key=lambda revision: -revision.traffic)
        self._revisions = {revision.revision: revision.bundle_sha256 for revision in revisions}
        self._wanted = {}
        for revision in revisions:
            self._wanted.setdefault(revision.bundle_sha256, revision)
        self._served = {sha256: served for sha256, served in self._served.items() if sha256 in self._wanted}
        self._failed = {sha256: why for sha256, why in self._failed.items() if sha256 in self._wanted}
        self._change.set()

    @property
    def settled(self) -> bool:
        """Whether every wanted bundle is loaded or known to be bad."""
        return all(sha256 in self._served or sha256 in self._failed for sha256 in self._wanted)

    def status(self) -> dict[str, str]:
        """Revision id → "loading", "ready" or "failed: why"."""
        return {revision: self._status(sha256) for revision, sha256 in self._revisions.items()}

    def _status(self, sha256: str) -> str:
        if sha256 in self._served:
            return "ready"
        return f"failed: {self._failed[sha256]}" if sha256 in self._failed else "loading"

    def loaded(self) -> list[tuple[RouteRevision, Served]]:
        """Every loaded model, with a revision that it serves."""
        wanted = self._wanted
        return [(found, served) for sha256, served in list(self._served.items()) if (found := wanted.get(sha256))]

    def pick(self, route: Route) -> tuple[RouteRevision, Served]:
        """A revision that is ready, by its share of traffic. Raises InfraError `endpoint_not_ready`.

        Where none with traffic is ready, one that is kept warm answers: a deploy must not cost a request.
        """
        revisions = route.revisions
        if len(revisions) == 1 and (served := self._served.get(revisions[0].bundle_sha256)):
            return revisions[0], served
        ready = [revision for revision in revisions if revision.bundle_sha256 in self._served]
        if not ready:
            raise InfraError("endpoint_not_ready", retry_after=2)
        shares = [revision.traffic for revision in ready]
        chosen = random.choices(ready, shares)[0] if any(shares) else ready[-1]
        return chosen, self._served[chosen.bundle_sha256]

    async def run(self) -> None:
        """Load what is wanted, one after the other, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._change.clear()
            revision = self._next()
            if revision is None:
                await self._rest()
                continue
            sha256 = revision.bundle_sha256
            try:
                loaded = await loop.run_in_executor(self._loading, self._open, revision)
            except (SlipwayError, OSError) as error:
                self._note_failure(sha256, error)
            except Exception as error:
                log.exception("bundle not loaded", revision=revision.revision)
                self._note_failure(sha256, JobError("bundle_invalid", f"{type(error).__name__} while loading"))
            else:
                if sha256 in self._wanted:
                    self._failed.pop(sha256, None)
                    self._served[sha256] = Served(loaded, loaded.batcher(self._running))
                    self.news.set()
                    _settle_memory()
                    log.info("model ready", revision=revision.revision, batch_ms=round(loaded.typical_s * 1e3, 2))

    def _next(self) -> RouteRevision | None:
        now = time.monotonic()
        for sha256, revision in self._wanted.items():
            if sha256 not in self._served and (
                sha256 not in self._failed or self._retry_at.get(sha256, float("inf")) <= now
            ):
                return revision
        return None

    async def _rest(self) -> None:
        """Wait for a change, or until something may be tried again."""
        await asyncio.to_thread(self._evict)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._change.wait()

    def _open(self, revision: RouteRevision) -> Loaded:
        return bundles.open_bundle(bundles.fetch(self._storage, revision, self._cache))

    def _note_failure(self, sha256: str, error: Exception) -> None:
        # What the store or the disk did may pass; a bad bundle stays bad.
        passing = isinstance(error, OSError | InfraError)
        message = error.message if isinstance(error, SlipwayError) else "The bundle cannot be read just now."
        self._failed[sha256] = message
        self.news.set()
        if passing:
            self._retry_at[sha256] = time.monotonic() + _RETRY_S
        else:
            self._retry_at.pop(sha256, None)
        log.warning("bundle not loaded", bundle=sha256[:12], reason=message, again=passing)

    def _evict(self) -> None:
        """Remove cached bundles that no route names."""
        wanted = set(self._wanted)
        for path in self._cache.glob("*.zip"):
            if path.stem not in wanted:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the threads end."""
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._running.shutdown(wait=False, cancel_futures=True)


def _settle_memory() -> None:
    """Let the garbage collector pass over what stays: searching models and modules again costs 6 % of the time."""
    gc.collect()
    gc.freeze()
