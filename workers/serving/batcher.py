"""Batching: inputs that are already waiting are predicted together. Nobody waits for company.

A batch is what has gathered while the event loop was handling the sockets that were ready (cheap models) or while the
batch before it was running (dear models). A timer would only make a lone client slower.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import structlog

from workers.contracts.errors import InfraError, SlipwayError
from workers.inference.core import InputError
from workers.serving import threads
from workers.serving.config import DEADLINE_S, MAX_BATCH, MAX_WAITING
from workers.serving.cost import Cost
from workers.serving.crew import Crew
from workers.serving.metrics import SIZE_BOUNDS, TIME_BOUNDS_US, Histogram

log = structlog.get_logger(__name__)

# A full batch that takes longer would keep the event loop from the sockets: such models run in a thread, which
# costs about 0.1 ms each way. Measured at warm-up; a model that turns out to be far dearer on real inputs moves later.
LOOP_BUDGET_S = 0.008
_FAR_DEARER = 4

Predictions = list[dict[str, Any]]
Predict = Callable[[Sequence[Any]], Predictions]
Prepare = Callable[[list[Any]], list[Any]]
Then = Callable[["Job", Predictions | Exception], None]
Results = list[Predictions | Exception]


class Job:
    """The inputs of one request on their way through a batch. `then` is told the result."""

    __slots__ = ("_dropped", "compute_us", "count", "enqueued", "is_raw", "items", "patience_s", "queue_us", "then")

    def __init__(self, items: Sequence[Any], then: Then, patience_s: float, *, is_raw: bool = False) -> None:
        # Prepared, or raw inputs: those are prepared in the turn of their batch.
        self.items = items
        self.is_raw = is_raw
        self.then = then
        self._dropped = False
        # How long it may wait before its prediction begins.
        self.patience_s = patience_s
        self.count = len(items)
        self.enqueued = time.perf_counter()
        # Microseconds in the queue, and this job's share of its batch's computing.
        self.queue_us = 0
        self.compute_us = 0

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self._dropped

    def drop(self) -> None:
        """Nobody waits any more: `then` is not told."""
        self._dropped = True


class Awaited(Job):
    """A job whose result is awaited as a future, which may be cancelled."""

    __slots__ = ("future",)

    def __init__(
        self, items: Sequence[Any], future: "asyncio.Future[Predictions]", patience_s: float, *, is_raw: bool = False
    ) -> None:
        super().__init__(items, self._resolve, patience_s, is_raw=is_raw)
        self.future = future

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self.future.done()

    def _resolve(self, job: Job, result: "Predictions | Exception") -> None:
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Batcher:
    """The queue of one loaded model: first come, first served, bounded by inputs."""

    def __init__(
        self,
        predict: Predict,
        crew: Crew,
        *,
        typical_s: float = 0.0,
        single_s: float = 0.0,
        prepare: Prepare | None = None,
        shared: Callable[[], bool] = lambda: False,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """`typical_s` is how long a full batch takes, `single_s` one input, as measured at warm-up.

        `prepare` makes items of raw inputs, where that takes as long as some models do: in a thread, in the same turn
        as the run. `shared`: whether other models are asked, too; then a thread gives way to their requests.
        """
        self._predict = predict
        self._shared = shared
        self.prepare = prepare
        self._crew = crew
        self._typical_s = typical_s
        self._cost = Cost(single_s, typical_s, max_batch)
        self._max_waiting = max_waiting
        self._deadline_s = deadline_s
        # So many inputs need no closer look.
        self._calm = min(max_waiting, self._cost.within(deadline_s))
        self._queue: deque[Job] = deque()
        self._busy = False
        self._held = 0
        self._afterwards: Callable[[], None] | None = None
        # When the running batch could begin.
        self._begun = 0.0
        self._loop = asyncio.get_running_loop()
        self.on_loop = prepare is None and typical_s <= LOOP_BUDGET_S
        # When it last had something to do, by `perf_counter`.
        self.used = time.perf_counter()
        # Inputs per batch, and microseconds of computing.
        self.sizes, self.runs = Histogram(SIZE_BOUNDS), Histogram(TIME_BOUNDS_US)

    @property
    def held(self) -> int:
        """Inputs that wait or are being predicted."""
        return self._held

    @property
    def free(self) -> int:
        """Inputs that there is room for."""
        return self._max_waiting - self._held

    def wait_s(self) -> float:
        """Seconds until an input that came now would begin."""
        if not self._held:
            return 0.0
        done_s = time.perf_counter() - self._begun if self._busy else 0.0
        return max(0.0, self._cost.of(self._held) - done_s)

    def reserve(self, count: int, patience_s: float | None = None) -> None:
        """Take places for some inputs; `release` gives them back. Raises InfraError `overloaded`.

        There is room for so many inputs, and for as many seconds of work as the queue may take; who is less patient
        than the queue is long is refused at once. `retry_after` is when there should be room.
        """
        if self._held + count > self._calm or patience_s is not None:
            self._check_room(count, patience_s)
        self._held += count

    def _check_room(self, count: int, patience_s: float | None) -> None:
        if self._held:
            # A request larger than the queue would never fit: it is let in when nobody else is there.
            wait_s = self.wait_s()
            late_s = wait_s + self._cost.of(count) - self._deadline_s
            if patience_s is not None:
                late_s = max(late_s, wait_s - patience_s)
            if (over := self._held + count - self._max_waiting) > 0:
                late_s = max(late_s, self._cost.of(over))
            if late_s > 0:
                raise InfraError("overloaded", retry_after=math.ceil(late_s))

    def release(self, count: int) -> None:
        """Give places back."""
        self._held -= count

    def submit(self, items: Sequence[Any], patience_s: float | None = None, *, is_raw: bool = False) -> Awaited:
        """Queue the inputs of a request. `job.future` gets one prediction per input, or the error.

        A client that waits less long than the queue may take says so by `patience_s`. `is_raw`: still to be prepared.
        """
        patience = self._deadline_s if patience_s is None else min(patience_s, self._deadline_s)
        job = Awaited(items, self._loop.create_future(), patience, is_raw=is_raw)
        self._queue_up(job)
        return job

    def submit_then(self, items: Sequence[Any], then: Then, *, is_raw: bool = False) -> Job:
        """`submit`, with a callback instead of the future: it costs no turn of the event loop."""
        job = Job(items, then, self._deadline_s, is_raw=is_raw)
        self._queue_up(job)
        return job

    def afterwards(self, work: Callable[[], None]) -> None:
        """For a callback: what to do once, when all of its batch have been told."""
        self._afterwards = work

    def _queue_up(self, job: Job) -> None:
        self._queue.append(job)
        if not self._busy:
            self._busy = True
            self._begun = job.enqueued
            # Not at once: every socket that is ready in this turn of the loop may still join.
            self._loop.call_soon(self._run_next)

    def _take(self) -> list[Job]:
        """The next jobs: as many as fit into a batch, at least one. Whoever has left or is too late is passed over."""
        batch: list[Job] = []
        now, count = time.perf_counter(), 0
        self.used = now
        most = self._cost.even(self._held)
        while self._queue and (not batch or count + self._queue[0].count <= most):
            job = self._queue.popleft()
            if job.is_over:
                continue
            waited = now - job.enqueued
            if waited > job.patience_s:
                _settle(job, InfraError("deadline_exceeded", retry_after=1))
                continue
            job.queue_us = int(waited * 1e6)
            batch.append(job)
            count += job.count
        return batch

    def _run_next(self) -> None:
        batch = self._take()
        if not batch:
            self._busy = False
        elif self.on_loop and sum(job.count for job in batch) <= self._cost.batch:
            self._finish(batch, *self._compute(batch))
        else:
            self._crew.submit(partial(self._compute_in_thread, batch, self._cost.part if self._shared() else None))

    def _compute_in_thread(self, batch: list[Job], part: int | None) -> Callable[[], None]:
        """What the loop has to do with the results."""
        results: Results
        try:
            results, elapsed_s = self._compute(batch, part)
        except BaseException as error:
            results, elapsed_s = [_as_exception(error)] * len(batch), 0.0
        return partial(self._finish, batch, results, elapsed_s)

    def _finish(self, batch: list[Job], results: Results, elapsed_s: float) -> None:
        """The one place where a batch is settled."""
        count = sum(job.count for job in batch)
        self.sizes.add(count)
        self.runs.add(int(elapsed_s * 1e6))
        self._learn(count, elapsed_s)
        if in_thread := not self.on_loop:
            self._run_next()  # before these are told: the thread works on meanwhile
        for job, result in zip(batch, results, strict=True):
            job.compute_us = int(elapsed_s * 1e6 * job.count / count)
            _settle(job, result)
        if self._afterwards is not None:
            work, self._afterwards = self._afterwards, None
            work()
        if in_thread:
            return
        if self._queue:
            self._loop.call_soon(self._run_next)
        else:
            self._busy = False

    def _learn(self, count: int, elapsed_s: float) -> None:
        """From a batch that is done."""
        now = time.perf_counter()
        # What waits waits for others on the loop and in threads, too.
        self._cost.learn(count, now - self._begun)
        self._begun = now
        self._calm = min(self._max_waiting, self._cost.within(self._deadline_s))
        # Slowly, so that a moment in which the machine is busy makes no model dear.
        self._typical_s += 0.05 * (elapsed_s - self._typical_s)
        if self._typical_s > _FAR_DEARER * LOOP_BUDGET_S:
            self.on_loop = False

    def _compute(self, batch: list[Job], part: int | None = None) -> tuple[Results, float]:
        """Results per job, and the seconds it took. After each `part` of so many inputs it gives way."""
        started = time.perf_counter()
        results: Results = []
        for jobs in _parts(batch, part) if part else [batch]:
            results += self._results(jobs, part)
            if part:
                threads.give_way()
        return results, time.perf_counter() - started

    def _results(self, batch: list[Job], part: int | None) -> Results:
        """Per job. If the batch fails, each job is tried alone: one bad input fails only its own request."""
        errors = [self._prepare(job) for job in batch]
        results = iter(self._answers([job for job, error in zip(batch, errors, strict=True) if error is None], part))
        return [next(results) if error is None else error for error in errors]

    def _prepare(self, job: Job) -> Exception | None:
        """Make items of a job's raw inputs, or say why that cannot be."""
        if not job.is_raw or self.prepare is None:
            return None
        try:
            job.items = self.prepare(list(job.items))
        except Exception as error:
            return error
        job.is_raw = False
        return None

    def _answers(self, batch: list[Job], part: int | None) -> Results:
        """Results per job whose items are ready."""
        if len(batch) > 1:
            together = self._attempt([item for job in batch for item in job.items], part)
            if not isinstance(together, Exception):
                ends = list(accumulate(job.count for job in batch))
                return [together[end - job.count : end] for job, end in zip(batch, ends, strict=True)]
        return [self._attempt(job.items, part) for job in batch]

    def _attempt(self, items: Sequence[Any], part: int | None) -> Predictions | Exception:
        try:
            if part is None or len(items) <= part:
                predictions = self._predict(items)
            else:
                predictions = []
                for start in range(0, len(items), part):
                    if start:
                        threads.give_way()
                    predictions += self._predict(items[start : start + part])
        except Exception as error:
            return error
        if len(predictions) != len(items):
            return RuntimeError(f"the model gave {len(predictions)} predictions for {len(items)} inputs")
        return predictions


def _parts(batch: list[Job], most: int) -> Iterator[list[Job]]:
    """The jobs in their order, in groups of so many inputs at most; a job that has more is a group of its own."""
    group: list[Job] = []
    count = 0
    for job in batch:
        if group and count + job.count > most:
            yield group
            group, count = [], 0
        group.append(job)
        count += job.count
    yield group


def _settle(job: Job, result: "Predictions | Exception") -> None:
    if job.is_over:
        return
    try:
        job.then(job, result)
    except Exception:  # one that stumbles may not keep the others from their answers
        log.exception("unhandled")


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(f"prediction ended by {error!r}")


def as_client_error(error: Exception) -> SlipwayError | None:
    """What the client is told of an error from `Job.future` or from parsing; None stands for a bug."""
    if isinstance(error, SlipwayError):
        return error
    if isinstance(error, InputError):
        if error.index is None:
            return SlipwayError("input_invalid", error.message)
        return SlipwayError("input_invalid", error.message, index=error.index)
    return None
