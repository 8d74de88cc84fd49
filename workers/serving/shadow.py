"""Shadow: a candidate answers copies of requests after they were answered. Compared and counted, never sent.

The live answer has left before its copy is looked at. Copies wait in a short queue and are answered in one thread of
the lowest priority; what does not fit is dropped and counted. Only sums leave this module, no inputs.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from workers.contracts import names
from workers.contracts.errors import InfraError
from workers.contracts.shadow import FAILED, MAX_LAST, ShadowTally
from workers.contracts.snapshot import Route, RouteRevision, Shadow
from workers.inference.core import Predictor
from workers.serving import threads
from workers.serving.metering import Meter

# Inputs and bytes of copies that wait for the thread.
_MAX_WAITING: Final = 512
_MAX_BYTES: Final = 64 * 2**20
# Inputs that are answered in one run of the candidate.
_MAX_BATCH: Final = 32
_TELL_EVERY_S: Final = 1.0
# Different pairs of labels that are counted one by one.
_MAX_CHANGES: Final = 100
# Steps of niceness behind the event loop: whoever waits for an answer goes first.
_BEHIND: Final = 19

Predictions = Sequence[dict[str, Any]]


class Copy(NamedTuple):
    """An answered request: raw inputs, what was answered, and the microseconds that took."""

    shadow: Shadow
    predictor: Predictor
    raws: Sequence[Any]
    size: int
    predictions: Predictions
    answered_us: int


@dataclass(slots=True)
class Tally:
    """The sums of one rollout; see ShadowTally."""

    seq: int = 0
    copies: int = 0
    dropped: int = 0
    failed: int = 0
    items: int = 0
    agreed: float = 0.0
    scored: int = 0
    score_difference: float = 0.0
    answered_us: int = 0
    candidate_us: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    last: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_LAST))
    # Whether it has grown since it was last told.
    fresh: bool = False

    def count(self, copy: Copy, given: Predictions | None, elapsed_us: int) -> None:
        """Add one copy. `given` None: the candidate failed on it."""
        self.fresh = True
        self.copies += 1
        self.last.append(FAILED if given is None else elapsed_us)
        if given is None:
            self.failed += 1
            return
        self.items += len(copy.raws)
        self.answered_us += copy.answered_us
        self.candidate_us += elapsed_us
        for answered, other in zip(copy.predictions, given, strict=True):
            self._compare(answered, other)

    def _compare(self, answered: dict[str, Any], other: dict[str, Any]) -> None:
        if (label := answered.get("label")) is None:
            self.agreed += overlap(answered.get("items", ()), other.get("items", ()))
            return
        if (given := other.get("label")) == label and answered.get("labels") == other.get("labels"):
            self.agreed += 1
        elif (label, given) in self.changes or len(self.changes) < _MAX_CHANGES:
            self.changes[str(label), str(given)] += 1
        scores = other.get("scores") or {}
        if label in scores:
            self.scored += 1
            self.score_difference += abs(answered["score"] - scores[label])


class Shadows:
    """The queue of copies, the thread that answers them, and the tallies."""

    def __init__(self, process: str, meter: Meter, predictor_of: Callable[[RouteRevision], Predictor | None]) -> None:
        """`predictor_of` gives a revision's loaded model, None where it is not loaded."""
        self._process = process
        self._meter = meter
        self._predictor_of = predictor_of
        self._tallies: dict[str, Tally] = {}
        self._queue: deque[Copy] = deque()
        self._waiting = self._bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._thread = threads.pool(1, "shadow", behind=_BEHIND)

    def offer(
        self, route: Route, answered: RouteRevision, raws: Sequence[Any], size: int, predictions: Predictions, us: int
    ) -> None:
        """Copy a request that has been answered, if its endpoint has a shadow and the dice say so. Never waits.

        `size` is the bytes of its body, `us` the microseconds of computing that its answer took.
        """
        shadow = route.shadow
        if shadow is None or answered.revision == shadow.revision or random.random() * 100 >= shadow.share:
            return
        candidate = next((one for one in route.revisions if one.revision == shadow.revision), None)
        predictor = self._predictor_of(candidate) if candidate else None
        full = self._waiting + len(raws) > _MAX_WAITING or self._bytes + size > _MAX_BYTES
        if predictor is None or full:
            tally = self._tally(shadow)
            tally.dropped += 1
            tally.fresh = True
            return
        self._queue.append(Copy(shadow, predictor, raws, size, predictions, us))
        self._waiting += len(raws)
        self._bytes += size
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def _tally(self, shadow: Shadow) -> Tally:
        return self._tallies.setdefault(shadow.rollout, Tally())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._take():
            answers, elapsed_s = await loop.run_in_executor(self._thread, _answer, batch)
            count = sum(len(copy.raws) for copy in batch)
            for copy, given in zip(batch, answers, strict=True):
                self._tally(copy.shadow).count(copy, given, int(elapsed_s * 1e6 * len(copy.raws) / count))
                self._waiting -= len(copy.raws)
                self._bytes -= copy.size

    def _take(self) -> list[Copy]:
        """The next copies for the same candidate that fit into one run; at least one."""
        batch: list[Copy] = []
        count = 0
        while self._queue:
            copy = self._queue[0]
            if batch and (copy.predictor is not batch[0].predictor or count + len(copy.raws) > _MAX_BATCH):
                break
            batch.append(self._queue.popleft())
            count += len(copy.raws)
        return batch

    async def tell(self) -> None:
        """Write what has grown to the stream, every second, until cancelled."""
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            self._write()

    def _write(self) -> None:
        for rollout, tally in self._tallies.items():
            if not tally.fresh:
                continue
            tally.seq += 1
            record = ShadowTally(
                rollout=rollout,
                process=self._process,
                changes=[(*pair, count) for pair, count in tally.changes.items()],
                last=list(tally.last),
                **{name: getattr(tally, name) for name in _SUMS},
            )
            # What is lost on the way is in the next one; where too many usage records wait, they come first.
            with contextlib.suppress(InfraError):
                self._meter.put(names.STREAM_SHADOW, record.model_dump_json().encode(), lambda _: None)
                tally.fresh = False
        self._meter.flush()

    def close(self) -> None:
        """Say the last sums and let the thread end; copies that still wait are forgotten."""
        self._queue.clear()
        self._write()
        self._thread.shutdown(wait=False, cancel_futures=True)


_SUMS: Final = tuple(name for name in ShadowTally.model_fields if name not in ("rollout", "process", "changes", "last"))


def overlap(answered: Predictions, given: Predictions) -> float:
    """The share of the longer list's items that both lists name; 1 for two empty ones."""
    ours, theirs = ({row["item"] for row in rows} for rows in (answered, given))
    return len(ours & theirs) / max(len(ours), len(theirs)) if ours or theirs else 1.0


def _answer(batch: list[Copy]) -> tuple[list[Predictions | None], float]:
    """The candidate's predictions for each copy, None where it failed, and the seconds it took: the thread's own, for
    it stands behind everybody who waits for an answer.
    """
    started = time.thread_time()
    predictor = batch[0].predictor
    answers: list[Predictions | None] = []
    try:
        items = [item for copy in batch for item in predictor.parse(list(copy.raws))]
        together = predictor.predict(items)
        start = 0
        for copy in batch:
            answers.append(together[start : start + len(copy.raws)])
            start += len(copy.raws)
    except Exception:
        # One by one: a copy that it cannot take fails alone.
        answers = [_attempt(predictor, copy) for copy in batch]
    return answers, time.thread_time() - started


def _attempt(predictor: Predictor, copy: Copy) -> Predictions | None:
    try:
        return predictor.predict(predictor.parse(list(copy.raws)))
    except Exception:
        return None
