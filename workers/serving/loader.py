"""The models of this process: loaded before they are routed to, kept while there is memory for them.

What loaded models take together stays within a budget: the one that has been idle longest goes for the next, and is
loaded again when a request asks for it.
"""

import asyncio
import contextlib
import gc
import math
import os
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from workers.contracts.errors import InfraError, JobError, SlipwayError, UserError
from workers.contracts.snapshot import Route, RouteRevision, Snapshot
from workers.serving import bundles, leftovers, memory
from workers.serving.batcher import Batcher
from workers.serving.bundles import Loaded, Speed
from workers.serving.config import DEADLINE_S, MAX_WAITING
from workers.serving.crew import Crew
from workers.serving.trial import Trial
from workers.storage import Storage

log = structlog.get_logger(__name__)

_RETRY_S: Final = 3.0
# What a model takes, by its packed bundle, until it has been measured: of trained ones 5 to 10 times, most of it what
# a full batch computes with.
_GUESS: Final = 8


@dataclass(frozen=True, slots=True)
class Served:
    """A loaded model with its queue."""

    loaded: Loaded
    batcher: Batcher


@dataclass(slots=True)
class Entry:
    """A model that the snapshot names, loaded or not. Two revisions of the same bundle and variant share it."""

    revision: RouteRevision
    # False once no snapshot names it any more.
    wanted: bool = True
    # To be loaded without being asked for; `urgent`: even where others have to go for it.
    due: bool = True
    urgent: bool = False
    served: Served | None = None
    failed: str = ""
    retry_at: float = math.inf
    # Bytes that it takes, and its speed, once it has been loaded; 0 and None before.
    bytes: int = 0
    speed: Speed | None = None
    # Set while requests wait for it.
    waiting: "asyncio.Future[Served | SlipwayError] | None" = None

    @property
    def needs(self) -> int:
        """Bytes that it takes, or is likely to."""
        return self.bytes or _GUESS * self.revision.bundle_bytes

    @property
    def state(self) -> str:
        """ready, idle (loaded when asked for), loading, or failed: why."""
        if self.served:
            return "ready"
        if self.failed:
            return f"failed: {self.failed}"
        return "loading" if self.due or self.waiting else "idle"

    def settle(self, result: Served | SlipwayError) -> None:
        """Tell those who wait for it."""
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(result)
        self.waiting = None


class Models:
    """Entries by bundle and variant. `budget` is how many bytes the loaded ones may take together, `cores` how many a
    run may use, `shared` whether several endpoints are asked just now."""

    def __init__(
        self, storage: Storage, cache: Path, budget: int, trial: Trial, cores: int, shared: Callable[[], bool]
    ) -> None:
        self._storage = storage
        self._cache = cache
        self._trial = trial
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.budget = budget
        self._cores = cores
        self._shared = shared
        self._entries: dict[tuple[str, str], Entry] = {}
        self._of: dict[str, Entry] = {}  # by revision
        self._asked: deque[Entry] = deque()
        self._patient = 0
        self._change = asyncio.Event()
        # Set when a model has become ready, idle or failed: whoever tells others clears it.
        self.news = asyncio.Event()
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="load")
        # A model is in one thread at a time at most: one that takes long leaves the others to the others.
        self._running = Crew(max(4, os.cpu_count() or 1), "predict")

    def update(self, snapshot: Snapshot) -> None:
        """Want the bundles that a snapshot names, most traffic first; let the others go.

        At the start those are loaded that fit. What comes later, or gets traffic that it had not, is loaded in any
        case. A model that goes finishes what is in its queue: its requests hold it.
        """
        before, at_start = self._entries, not self._of
        revisions = [revision for route in snapshot.routes for revision in route.revisions]
        revisions.sort(key=lambda revision: -revision.traffic)
        # Made aside: the metrics read them in a thread.
        entries: dict[tuple[str, str], Entry] = {}
        of: dict[str, Entry] = {}
        for revision in revisions:
            model = (revision.bundle_sha256, revision.variant)
            if model not in entries:
                entries[model] = _renewed(before.get(model), revision, at_start=at_start)
            of[revision.revision] = entries[model]
        self._entries, self._of = entries, of
        for model, entry in before.items():
            if model not in self._entries:
                entry.wanted = False
                entry.settle(InfraError("endpoint_not_ready", retry_after=1))
        self._change.set()

    @property
    def settled(self) -> bool:
        """Whether nothing is to be loaded that nobody has asked for: all is loaded, known to be bad, or has no room."""
        return not any(entry.due for entry in self._entries.values())

    @property
    def used(self) -> int:
        """Bytes that the loaded models take."""
        return sum(entry.bytes for entry in self._entries.values() if entry.served)

    def status(self) -> dict[str, str]:
        """Revision id → "loading", "ready", "idle" or "failed: why"."""
        return {revision: entry.state for revision, entry in self._of.items()}

    def loaded(self) -> list[tuple[RouteRevision, Served]]:
        """Every loaded model, with a revision that it serves."""
        return [(entry.revision, served) for entry in self._entries.values() if (served := entry.served)]

    def served(self, revision: RouteRevision) -> Served | None:
        """The model of a revision, if it is loaded."""
        entry = self._of.get(revision.revision)
        return entry.served if entry else None

    def pick(self, route: Route, asked: bytes | None = None) -> tuple[RouteRevision, Served | None]:
        """The revision that the client asks for, else one by its share of traffic, with its model if that is loaded;
        else `load` it.

        Where none with traffic can answer, one that is kept for a rollback does: a deploy must not cost a request.
        Raises InfraError `endpoint_not_ready`; UserError `revision_not_found`: who asks for one never gets another.
        """
        if asked is not None:
            revision = _asked_for(route, asked.decode("latin-1"))
            return revision, self.served(revision)
        revisions, entries = route.revisions, self._of
        if len(revisions) == 1 and (served := entries[revisions[0].revision].served):
            return revisions[0], served
        # What is loaded for the first time may yet turn out to be bad: others go before it.
        states = [(revision, entries[revision.revision]) for revision in revisions]
        able = [revision for revision, entry in states if entry.served or (entry.speed and not entry.failed)]
        able = able or [revision for revision, entry in states if not entry.failed]
        if not able:
            why = next((entry.failed for revision, entry in states if revision.traffic), "it has none.")
            raise InfraError("endpoint_not_ready", f"The endpoint's model cannot be loaded: {why}", retry_after=3)
        shares = [revision.traffic for revision in able]
        chosen = random.choices(able, shares)[0] if any(shares) else able[-1]
        return chosen, entries[chosen.revision].served

    async def load(self, revision: RouteRevision, patience_s: float | None = None) -> Served:
        """The model of a revision, loaded if need be: however many wait for it, it is loaded once.

        Raises InfraError `endpoint_not_ready`, `overloaded`, or `deadline_exceeded` where it takes too long.
        """
        entry = self._of.get(revision.revision)
        if entry is not None and entry.served:
            return entry.served
        if entry is None or entry.failed:
            raise _cannot_load(entry)
        if self._patient >= MAX_WAITING:
            raise InfraError("overloaded", retry_after=1)
        if entry.waiting is None:
            entry.waiting = asyncio.get_running_loop().create_future()
            self._asked.append(entry)
            self._change.set()
        self._patient += 1
        try:
            async with asyncio.timeout(DEADLINE_S if patience_s is None else min(patience_s, DEADLINE_S)):
                result = await asyncio.shield(entry.waiting)
        except TimeoutError:
            raise InfraError("deadline_exceeded", "The endpoint is still loading its model.", retry_after=2) from None
        finally:
            self._patient -= 1
        if isinstance(result, SlipwayError):
            raise result
        return result

    async def answering(self, route: Route) -> tuple[RouteRevision, Served]:
        """`pick`, and `load` if need be."""
        revision, served = self.pick(route)
        return revision, served or await self.load(revision)

    async def run(self) -> None:
        """Load what is asked for and what is due, one after the other, until cancelled."""
        await asyncio.get_running_loop().run_in_executor(self._loading, bundles.prepare)
        while True:
            self._change.clear()
            entry = self._next()
            if entry is None:
                await self._rest()
                continue
            # In a call of its own: a name that is left here would keep an unloaded model in memory.
            await self._load_now(entry)
            self.news.set()

    async def _load_now(self, entry: Entry) -> None:
        self._make_room(entry)
        work = asyncio.get_running_loop().run_in_executor(self._loading, self._open, entry.revision, entry.speed)
        try:
            self._install(entry, *await work)
        except (SlipwayError, OSError) as error:
            self._note_failure(entry, error)
        except Exception as error:
            log.exception("bundle not loaded", revision=entry.revision.revision)
            self._note_failure(entry, JobError("bundle_invalid", f"{type(error).__name__} while loading"))

    def _next(self) -> Entry | None:
        """What is to be loaded: first what requests wait for, then what is due, then what failed for a moment."""
        while self._asked:
            entry = self._asked.popleft()
            if entry.waiting is not None:
                return entry
        now = time.monotonic()
        for entry in self._entries.values():
            if entry.due:
                if entry.urgent or self.used + entry.needs <= self.budget:
                    return entry
                entry.due = False
                log.info("model left idle", revision=entry.revision.revision, needs=memory.show_size(entry.needs))
        return next((entry for entry in self._entries.values() if entry.retry_at <= now), None)

    async def _rest(self) -> None:
        """Wait for a change, or until something may be tried again."""
        self.news.set()
        await asyncio.to_thread(self._evict)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._change.wait()

    def _open(self, revision: RouteRevision, speed: Speed | None) -> tuple[Loaded, int]:
        """The model, and by how many bytes the process has grown for it."""
        with leftovers.working(self._cache):
            path = bundles.fetch(self._storage, revision, self._cache)
            self._trial.check(path, revision.variant)
            before = memory.resident()
            loaded = bundles.open_bundle(path, revision.variant, speed, self._cores)
            return loaded, memory.resident() - before

    def _install(self, entry: Entry, loaded: Loaded, grown: int) -> None:
        """Let a loaded model answer, and others go where it takes more than there is. Raises JobError."""
        # Measured once: later, memory that others have left behind is used again without any growth.
        entry.bytes, entry.speed = entry.bytes or max(grown, loaded.file_bytes), loaded.speed
        if entry.bytes > self.budget:
            needs, budget = memory.show_size(entry.bytes), memory.show_size(self.budget)
            raise JobError("bundle_invalid", f"The model takes {needs} of memory; {budget} is allowed here.")
        entry.due = entry.urgent = False
        entry.failed, entry.retry_at = "", math.inf
        if not entry.wanted:
            return
        entry.served = Served(loaded, loaded.batcher(self._running, self._shared))
        self._make_room(entry)
        entry.settle(entry.served)
        _settle_memory()
        log.info(
            "model ready",
            revision=entry.revision.revision,
            batch_ms=round(loaded.speed.batch_s * 1e3, 2),
            memory=memory.show_size(entry.bytes),
        )

    def _make_room(self, wanted: Entry) -> None:
        """Unload others until `wanted` fits: first those without traffic, then those that have been idle longest.

        Busy ones go last; what they have begun they finish.
        """
        loaded = [entry for entry in self._entries.values() if entry.served and entry is not wanted]
        excess = sum(entry.bytes for entry in loaded) + wanted.needs - self.budget
        for entry in sorted(loaded, key=_worth):
            if excess <= 0:
                return
            entry.served = None
            excess -= entry.bytes
            log.info("model unloaded", revision=entry.revision.revision, memory=memory.show_size(entry.bytes))
            self.news.set()

    def _note_failure(self, entry: Entry, error: Exception) -> None:
        # What the store or the disk did may pass; a bad bundle stays bad.
        passing = isinstance(error, OSError | InfraError)
        entry.failed = error.message if isinstance(error, SlipwayError) else "The bundle cannot be read just now."
        entry.due = entry.urgent = False
        entry.retry_at = time.monotonic() + _RETRY_S if passing else math.inf
        entry.settle(_cannot_load(entry))
        log.warning("bundle not loaded", bundle=entry.revision.bundle_sha256[:12], reason=entry.failed, again=passing)

    def _evict(self) -> None:
        """Remove cached bundles that no route names, and what killed processes have left."""
        with contextlib.suppress(OSError):
            leftovers.remove(self._cache)
        wanted = {sha256 for sha256, _ in self._entries}
        for path in self._cache.iterdir():
            if path.suffix in (".zip", ".tried") and path.name.split(".")[0] not in wanted:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the threads end."""
        self._trial.close()
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._running.close()


def _renewed(entry: Entry | None, revision: RouteRevision, *, at_start: bool) -> Entry:
    """A model's entry after a new snapshot; `revision` is the one with most traffic of those that it serves."""
    if entry is None:
        return Entry(revision, urgent=not at_start)
    if revision.traffic and not entry.revision.traffic and not entry.served:
        entry.due = entry.urgent = True
    entry.revision = revision
    return entry


def _cannot_load(entry: Entry | None) -> InfraError:
    why = f"The endpoint's model cannot be loaded: {entry.failed}" if entry else None
    return InfraError("endpoint_not_ready", why, retry_after=math.ceil(_RETRY_S))


def _worth(entry: Entry) -> tuple[bool, bool, float]:
    """The lowest goes first."""
    assert entry.served
    batcher = entry.served.batcher
    return batcher.held > 0, entry.revision.traffic > 0, batcher.used


def _settle_memory() -> None:
    """Let the garbage collector pass over what stays: searching models and modules again costs 6 % of the time."""
    gc.collect()
    gc.freeze()


def _asked_for(route: Route, asked: str) -> RouteRevision:
    """The revision with this id or version (a model's number), or the `candidate`."""
    wanted = route.candidate if asked == "candidate" else asked
    for revision in route.revisions:
        if wanted in (revision.revision, revision.version):
            return revision
    raise UserError("revision_not_found")
