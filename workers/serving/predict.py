"""The two metered routes, predict and infer: admit, read, predict, record, answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import structlog

from workers.contracts.errors import InfraError, SlipwayError, UserError
from workers.contracts.snapshot import KeyEntry, Route, RouteRevision
from workers.serving import bodies, explaining, oip
from workers.serving.auth import authenticate, route_for, still_holds
from workers.serving.batcher import Batcher, Job, Predictions, as_client_error
from workers.serving.bundles import Loaded
from workers.serving.compression import PACKED, pack, wants_packed
from workers.serving.config import MAX_BODY, MAX_TIMEOUT_MS, MAX_WAITING
from workers.serving.cycle import Cycle, Headers, Receive
from workers.serving.exchange import Exchange, predictions_body
from workers.serving.heads import Known
from workers.serving.loader import Served
from workers.serving.process import Process
from workers.serving.replays import Answer, Call, question_of
from workers.serving.replies import CLOSE, ONLY_JSON
from workers.serving.turns import Lane

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

# Smaller bodies are in memory already, or soon: they are read past rather than refused by hanging up.
_SMALL_BODY = 16 * 2**10
# A client names the revision that is to answer: `candidate`, a model's number or a revision's id.
REVISION_HEADER = b"x-slipway-revision"
# Refusals that a look at the newest snapshot may turn round.
_MAYBE_NEW = frozenset({"key_invalid", "endpoint_not_found"})
# Headers that ask for more than a prediction.
_NOT_PLAIN = frozenset({b"idempotency-key", b"x-timeout-ms", b"content-encoding", b"expect"})

Admitted = tuple[Route, RouteRevision, Served | None]


class Predict:
    """Serves requests of both protocols by the same steps."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def serve(self, cycle: Cycle, slug: str, *, is_oip: bool) -> Awaitable[None] | None:
        """Answer one request when its endpoint's turn has come; the rest of it, if that is now and it has to wait."""
        turns = self._process.turns
        lane = turns.lane(slug, self._process.clock())
        if lane is None:
            return self._begin(cycle, slug, is_oip=is_oip)
        if lane.enter(partial(self._begin_later, cycle, slug, lane, is_oip=is_oip)):
            cycle.enter(lane)
            return self._begin(cycle, slug, is_oip=is_oip)
        return None

    def _begin_later(self, cycle: Cycle, slug: str, lane: Lane, *, is_oip: bool) -> None:
        cycle.enter(lane)
        if cycle.gone:
            cycle.step_aside()
        elif (rest := self._begin(cycle, slug, is_oip=is_oip)) is not None:
            cycle.run(rest)

    def _begin(self, cycle: Cycle, slug: str, *, is_oip: bool) -> Awaitable[None] | None:
        """Begin to answer one request, with predictions or an error; the rest of it, if it has to wait for more than
        its turn in the model's queue.

        What need not wait for more is done here and by callbacks, `_predicted` and then the meter's: a task and its
        turns of the event loop would cost a quarter of the whole.
        """
        exchange = Exchange(cycle, oip=is_oip)
        if self._process.observer.tracer is not None:
            exchange.moments = {}
        if self._process.watch.is_late:
            return self._serve(exchange, slug, None)
        try:
            route, _, served = admitted = self._admit(exchange, slug)
            if served is None or is_oip or not _is_plain(cycle):
                return self._serve(exchange, slug, admitted)
            asked = bodies.asked_at_once(cycle.headers, cycle.body, route.kind)
            if asked is None or asked.explain:
                return self._serve(exchange, slug, admitted)
            exchange.body_read, exchange.bytes_in = True, asked.size
            self._submit(exchange, admitted, served, asked.raws)
        except Exception as raised:
            if isinstance(raised, UserError) and raised.code in _MAYBE_NEW:
                return self._serve(exchange, slug, None)
            return self._fail(exchange, raised, slug)
        return None

    def _submit(self, exchange: Exchange, admitted: Admitted, served: Served, raws: list[Any]) -> None:
        """Queue up for the model; `_predicted` hears of it."""
        (route, revision, _), batcher, count = admitted, served.batcher, len(raws)
        batcher.reserve(count)
        try:
            items = raws if batcher.prepare else served.loaded.predictor.parse(raws)
        except BaseException:
            batcher.release(count)
            raise
        exchange.items = count
        if route.shadow is not None:
            exchange.raws = raws
        then = partial(self._predicted, exchange, revision, batcher)
        job = batcher.submit_then(items, then, is_raw=batcher.prepare is not None)
        if not batcher.on_loop:
            exchange.cycle.left = partial(self._leave, exchange, batcher, job)
            exchange.cycle.step_aside()

    def _leave(self, exchange: Exchange, batcher: Batcher, job: Job) -> None:
        """The client has hung up: its place is for others."""
        job.drop()
        batcher.release(job.count)
        self._give_back(exchange)
        self._process.observer.left(exchange)

    def _predicted(
        self, exchange: Exchange, revision: RouteRevision, batcher: Batcher, job: Job, result: Predictions | Exception
    ) -> None:
        """The rest of `serve`, called with the result of the prediction."""
        exchange.cycle.left = None
        exchange.cycle.step_back()
        batcher.release(job.count)
        if isinstance(result, Exception):
            exchange.cycle.run(self._fail(exchange, result))
            return
        _note(exchange, job, result)
        try:
            body = predictions_body(revision, result, exchange.request_id)
        except Exception as raised:
            exchange.cycle.run(self._fail(exchange, raised))
            return
        if wants_packed(exchange.headers, len(body)):
            exchange.cycle.run(self._answer(exchange, body, ONLY_JSON))
            return
        self._record_and_send(exchange, body, ONLY_JSON)
        batcher.afterwards(self._process.meter.flush)

    async def _serve(self, exchange: Exchange, slug: str, admitted: Admitted | None) -> None:
        """Answer one request that may have to wait: for a newer snapshot, its body, a thread, an explanation."""
        process, held = self._process, 0
        try:
            if admitted is None:
                await process.watch.look()
                admitted = self._admit(exchange, slug)
            route, revision, served = admitted
            if served is None:
                exchange.cycle.step_aside()
                served = await process.models.load(revision, _patience_s(exchange))
                exchange.cycle.step_back()
            held = self._hold(exchange.headers, MAX_BODY[route.kind])
            body, reply_headers = await self._predictions(exchange, route, revision, served)
        except bodies.ClientGone:
            self._give_back(exchange)
            process.observer.left(exchange)
        except Exception as raised:
            await self._end_call(exchange)  # first: whoever hears of the failure may call again at once
            await self._fail(exchange, raised, slug)
        else:
            if exchange.is_replay:
                self._give_back(exchange)
                exchange.repeat(body, reply_headers)
                process.observer.ended(exchange)
            else:
                await self._answer(exchange, body, reply_headers)
        finally:
            process.bodies.left += held
            await self._end_call(exchange)

    async def _end_call(self, exchange: Exchange) -> None:
        call, exchange.call = exchange.call, None
        if call is not None:
            await self._process.replays.end(call, answered=exchange.status == 200)

    async def _fail(self, exchange: Exchange, raised: Exception, slug: str = "") -> None:
        """Every failure is somebody's request and gets an answer."""
        error = as_client_error(raised)
        if error is None:
            log.error("prediction failed", request_id=exchange.request_id, endpoint=slug, exc_info=raised)
            error = SlipwayError("prediction_failed") if exchange.items else None
        self._give_back(exchange)
        await exchange.refuse(self._process.meter, error, close=self._must_close(exchange))
        self._process.observer.ended(exchange)

    def _admit(self, exchange: Exchange, slug: str) -> Admitted:
        """Key, endpoint, limits, model: everything that can be said before the body. Raises SlipwayError."""
        process = self._process
        head = exchange.cycle.head
        if head is not None and (known := head.known) is not None and still_holds(known, process.directory):
            key, route = exchange.key, exchange.route = known.key, known.route
        else:
            key, route = self._identify(exchange, slug)
            if head is not None:
                head.known = Known(process.directory.version, key, route, slug, exchange.oip)
        remaining = process.limits.take(key, route, process.clock())
        exchange.admitted = True
        exchange.quota_left = process.limits.quota_left(key, route)
        asked = exchange.headers.get(REVISION_HEADER)
        revision, served = process.models.pick(route, asked)
        exchange.revision, exchange.pinned = revision, asked is not None
        if exchange.moments is not None:
            exchange.moments["admitted"] = time.perf_counter()
        free = served.batcher.free if served else MAX_WAITING
        exchange.remaining = free if remaining is None or remaining > free else remaining
        return route, revision, served

    def _identify(self, exchange: Exchange, slug: str) -> tuple[KeyEntry, Route]:
        """Who asks which endpoint. Raises SlipwayError."""
        directory = self._process.directory
        # Set for what is refused on the way: the endpoint's team gets to see bad keys and keys for other endpoints.
        exchange.route = directory.routes.get(slug)
        key = exchange.key = authenticate(exchange.headers, directory)
        if exchange.route is not None and exchange.route.team != key.team:
            exchange.route = None
        return key, route_for(key, slug, directory)

    def _hold(self, headers: dict[bytes, bytes], limit: int) -> int:
        """Bytes set aside for the body. Raises SlipwayError where it is too large, or too much at once."""
        length = bodies.declared_length(headers, limit)
        if length is not None and length <= _SMALL_BODY:
            return 0
        held = limit if length is None else length
        self._process.bodies.take(held)
        return held

    async def _predictions(
        self, exchange: Exchange, route: Route, revision: RouteRevision, served: Served
    ) -> tuple[bytes, Headers]:
        """The body and headers of a 200. Raises whatever stands against it."""
        pool, kind, limit = self._process.parsing, route.kind, MAX_BODY[route.kind]
        if exchange.oip:
            request = await oip.read(exchange.cycle.receive, exchange.headers, kind, limit, pool)
            exchange.body_read, exchange.bytes_in = True, request.bytes_in
            if before := await self._answered_before(exchange, route, [request.raws, request.id, request.outputs]):
                return before
            predictions = await self._run(exchange, route, served, request.raws, explain=False)
            labels = served.loaded.predictor.labels
            return oip.answer(request, route.slug, revision.version, kind, labels, predictions)
        asked = await bodies.read_inputs(exchange.cycle.receive, exchange.headers, kind, limit, pool)
        exchange.body_read, exchange.bytes_in = True, asked.size
        if before := await self._answered_before(exchange, route, [asked.raws, asked.explain]):
            return before
        if asked.explain:
            explaining.check(served.loaded.predictor, len(asked.raws))
        predictions = await self._run(exchange, route, served, asked.raws, explain=asked.explain)
        return predictions_body(revision, predictions, exchange.request_id), ONLY_JSON

    async def _answered_before(self, exchange: Exchange, route: Route, asked: list[Any]) -> Answer | None:
        """What an earlier call with the same Idempotency-Key was answered. Raises UserError."""
        key = exchange.headers.get(b"idempotency-key")
        if key is None or exchange.key is None:
            return None
        name = (exchange.key.key, route.endpoint, exchange.oip, key)
        call = Call(name, question_of(asked))
        before = await self._process.replays.find(call, self._process.clock())
        if before is None:
            exchange.call = call
            return None
        exchange.is_replay = True
        return before

    async def _run(
        self, exchange: Exchange, route: Route, served: Served, raws: list[Any], *, explain: bool
    ) -> list[dict[str, Any]]:
        """Predictions for raw inputs, through the model's queue; each with its `explanation`, if wanted."""
        batcher, predictor = served.batcher, served.loaded.predictor
        count = len(raws)
        batcher.reserve(count, _patience_s(exchange))
        try:
            items, is_raw = raws, batcher.prepare is not None and exchange.bytes_in <= _SMALL_BODY
            if batcher.prepare is None:
                items = predictor.parse(raws)
            elif not is_raw:  # it takes milliseconds, and lets other threads run
                items = await asyncio.get_running_loop().run_in_executor(self._process.parsing, batcher.prepare, raws)
            exchange.items = count
            job = batcher.submit(items, _patience_s(exchange), is_raw=is_raw)
            predictions = await (job.future if batcher.on_loop else _unless_gone(job.future, exchange.cycle.receive))
            if route.shadow is not None and not explain:
                exchange.raws = raws
            _note(exchange, job, predictions)
        finally:
            batcher.release(count)
        if explain:
            await self._explain(exchange, served.loaded, list(job.items), predictions)
        return predictions

    async def _explain(
        self, exchange: Exchange, loaded: Loaded, items: list[Any], predictions: list[dict[str, Any]]
    ) -> None:
        """Add to each prediction its `explanation`. What the model answered for them counts as items."""
        work = asyncio.ensure_future(self._process.explainer.explain(loaded, items, predictions, _patience_s(exchange)))
        explained, seconds = await _unless_gone(work, exchange.cycle.receive)
        for prediction, explanation in zip(predictions, explained.explanations, strict=True):
            prediction["explanation"] = explanation
        exchange.items += explained.asked
        exchange.compute_us += int(seconds * 1e6)

    async def _answer(self, exchange: Exchange, body: bytes, headers: Headers) -> None:
        """Send predictions, packed if the client takes that, and keep them for a repeated call."""
        process, sent, sent_headers = self._process, body, headers
        if wants_packed(exchange.headers, len(body)):
            sent, sent_headers = await pack(body, process.parsing), [*headers, *PACKED]
        if exchange.call is None:
            self._record_and_send(exchange, sent, sent_headers)
            process.meter.flush()
            return
        await process.replays.keep(exchange.call, (body, headers), process.clock())
        recorded: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self._record_and_send(exchange, sent, sent_headers, recorded.set_result)
        process.meter.flush()
        await recorded
        self._ended(exchange)

    def _record_and_send(
        self, exchange: Exchange, body: bytes, headers: Headers, then: Callable[[Exchange], None] | None = None
    ) -> None:
        process = self._process
        if process.draining:
            headers = [*headers, CLOSE]
        exchange.answer(process.meter, body, headers, then or self._ended)

    def _ended(self, exchange: Exchange) -> None:
        """The answer has left: a shadow may have its copy."""
        process, route, revision = self._process, exchange.route, exchange.revision
        process.observer.ended(exchange)
        if exchange.raws is not None and exchange.status == 200 and route is not None and revision is not None:
            process.shadows.offer(
                route, revision, exchange.raws, exchange.bytes_in, exchange.predictions, exchange.compute_us
            )

    def _give_back(self, exchange: Exchange) -> None:
        """Only what was answered counts against quotas."""
        if exchange.admitted and exchange.route is not None and exchange.key is not None:
            self._process.limits.give_back_quota(exchange.key, exchange.route)

    def _must_close(self, exchange: Exchange) -> bool:
        """Whether the client may be sending more than we want to read past."""
        if exchange.body_read:
            return False
        length = exchange.headers.get(b"content-length")
        return length is None or int(length) > _SMALL_BODY or b"expect" in exchange.headers


def _is_plain(cycle: Cycle) -> bool:
    """Whether a body can be read at once: it is here and small, and no header asks for more."""
    return not cycle.more_body and len(cycle.body) <= _SMALL_BODY and cycle.headers.keys().isdisjoint(_NOT_PLAIN)


def _note(exchange: Exchange, job: Job, predictions: Predictions) -> None:
    """What the prediction took; and what it is, where a shadow may want a copy."""
    exchange.queue_us, exchange.compute_us = job.queue_us, job.compute_us
    if exchange.raws is not None:
        exchange.predictions = predictions
    if exchange.moments is not None:
        running = job.enqueued + job.queue_us / 1e6
        exchange.moments |= {"queued": job.enqueued, "running": running, "predicted": time.perf_counter()}


def _patience_s(exchange: Exchange) -> float | None:
    """What is left of the time that the client gives us by `X-Timeout-Ms`. Raises UserError, InfraError."""
    text = exchange.headers.get(b"x-timeout-ms")
    if text is None:
        return None
    if not text.isdigit() or not 0 < int(text[:10]) <= MAX_TIMEOUT_MS:
        raise UserError("bad_request", f"X-Timeout-Ms has to be a whole number from 1 to {MAX_TIMEOUT_MS}.")
    left = int(text) / 1000 - (time.perf_counter() - exchange.started)
    if left <= 0:
        raise InfraError("deadline_exceeded", retry_after=1)
    return left


async def _unless_gone(work: "asyncio.Future[_T]", receive: Receive) -> _T:
    """The result of some work; if the client leaves first, it is cancelled. Raises ClientGone."""
    # The body has been read: what else comes is the news that the client has left.
    gone = asyncio.ensure_future(receive())
    gone.add_done_callback(lambda _: work.cancel())
    try:
        return await work
    except asyncio.CancelledError:
        if gone.done():
            raise bodies.ClientGone from None
        raise
    finally:
        gone.cancel()
