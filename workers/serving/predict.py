"""The two metered routes, predict and infer: admit, read, predict, record, answer."""

import asyncio
import time
from typing import Any, TypeVar

import structlog

from workers.contracts.errors import InfraError, SlipwayError, UserError
from workers.contracts.snapshot import Route, RouteRevision
from workers.serving import bodies, explaining, oip
from workers.serving.auth import authenticate, route_for
from workers.serving.batcher import as_client_error
from workers.serving.bundles import Loaded
from workers.serving.config import MAX_BODY, MAX_TIMEOUT_MS
from workers.serving.exchange import Exchange, predictions_body
from workers.serving.loader import Served
from workers.serving.process import Process
from workers.serving.replays import Call, question_of
from workers.serving.replies import JSON, Headers, Receive, Send

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

# Smaller bodies are in memory already, or soon: they are read past rather than refused by hanging up.
_SMALL_BODY = 16 * 2**10
# Refusals that a look at the newest snapshot may turn round.
_MAYBE_NEW = frozenset({"key_invalid", "endpoint_not_found"})


class Predict:
    """Serves requests of both protocols by the same steps."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def serve(
        self, headers: dict[bytes, bytes], receive: Receive, send: Send, slug: str, *, is_oip: bool
    ) -> None:
        """Answer one request, with predictions or an error."""
        process = self._process
        exchange = Exchange(headers, receive, send, oip=is_oip)
        held = 0
        if process.observer.tracer is not None:
            exchange.moments = {}
        error: SlipwayError | None
        try:
            try:
                route, revision, served = self._admit(exchange, slug)
            except UserError as refused:
                if refused.code not in _MAYBE_NEW:
                    raise
                await process.watch.look()
                route, revision, served = self._admit(exchange, slug)
            if exchange.moments is not None:
                exchange.moments["admitted"] = time.perf_counter()
            held = self._hold(headers, MAX_BODY[route.kind])
            body, reply_headers = await self._predictions(exchange, route, revision, served)
            if exchange.call is not None:
                process.replays.keep(exchange.call, (body, reply_headers), process.clock())
        except bodies.ClientGone:
            self._give_back(exchange)
            process.observer.left(exchange)
            return
        except Exception as raised:
            # Every failure is somebody's request and gets an answer.
            error = as_client_error(raised)
            if error is None:
                log.exception("prediction failed", request_id=exchange.request_id, endpoint=slug)
                error = SlipwayError("prediction_failed") if exchange.items else None
        else:
            if process.draining:
                reply_headers.append((b"connection", b"close"))
            if exchange.is_replay:
                self._give_back(exchange)
                await exchange.repeat(body, reply_headers)
            else:
                await exchange.answer(process.meter, process.parsing, body, reply_headers)
            process.observer.ended(exchange)
            return
        finally:
            process.bodies.left += held
            if exchange.call is not None:
                process.replays.end(exchange.call)
        self._give_back(exchange)
        await exchange.refuse(process.meter, error, close=self._must_close(exchange))
        process.observer.ended(exchange)

    def _admit(self, exchange: Exchange, slug: str) -> tuple[Route, RouteRevision, Served]:
        """Key, endpoint, limits, model: everything that can be said before the body. Raises SlipwayError."""
        process = self._process
        directory = process.directory
        # Set for what is refused on the way: the endpoint's team gets to see bad keys and keys for other endpoints.
        exchange.route = directory.routes.get(slug)
        key = exchange.key = authenticate(exchange.headers, directory)
        if exchange.route is not None and exchange.route.team != key.team:
            exchange.route = None
        route = route_for(key, slug, directory)
        remaining = process.limits.take(key, route, process.clock())
        exchange.admitted = True
        revision, served = process.models.pick(route)
        exchange.revision = revision
        free = served.batcher.free
        exchange.remaining = free if remaining is None or remaining > free else remaining
        return route, revision, served

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
            request = await oip.read(exchange.receive, exchange.headers, kind, limit, pool)
            exchange.body_read, exchange.bytes_in = True, request.bytes_in
            if before := self._answered_before(exchange, route, [request.raws, request.id, request.outputs]):
                return before
            predictions = await self._run(exchange, kind, served, request.raws, explain=False)
            labels = served.loaded.predictor.labels
            return oip.answer(request, route.slug, revision.number, kind, labels, predictions)
        asked = await bodies.read_inputs(exchange.receive, exchange.headers, kind, limit, pool)
        exchange.body_read, exchange.bytes_in = True, asked.size
        if before := self._answered_before(exchange, route, [asked.raws, asked.explain]):
            return before
        if asked.explain:
            explaining.check(served.loaded.predictor, len(asked.raws))
        predictions = await self._run(exchange, kind, served, asked.raws, explain=asked.explain)
        return predictions_body(revision, predictions, exchange.request_id), [JSON]

    def _answered_before(self, exchange: Exchange, route: Route, asked: list[Any]) -> tuple[bytes, Headers] | None:
        """What an earlier call with the same Idempotency-Key was answered. Raises UserError."""
        key = exchange.headers.get(b"idempotency-key")
        if key is None or exchange.key is None:
            return None
        name = (exchange.key.key, route.endpoint, exchange.oip, key)
        call = Call(name, question_of(asked))
        before = self._process.replays.find(call, self._process.clock())
        if before is None:
            exchange.call = call
            return None
        exchange.is_replay = True
        return before

    async def _run(
        self, exchange: Exchange, kind: str, served: Served, raws: list[Any], *, explain: bool
    ) -> list[dict[str, Any]]:
        """Predictions for raw inputs, through the model's queue; each with its `explanation`, if wanted."""
        batcher, predictor = served.batcher, served.loaded.predictor
        count = len(raws)
        batcher.reserve(count)
        try:
            if kind == "image":  # decoding takes milliseconds, and lets other threads run
                items = await asyncio.get_running_loop().run_in_executor(self._process.parsing, predictor.parse, raws)
            else:
                items = predictor.parse(raws)
            exchange.items = count
            job = batcher.submit(items, _patience_s(exchange))
            predictions = await (job.future if batcher.on_loop else _unless_gone(job.future, exchange.receive))
            exchange.queue_us, exchange.compute_us = job.queue_us, job.compute_us
            if exchange.moments is not None:
                running = job.enqueued + job.queue_us / 1e6
                exchange.moments |= {"queued": job.enqueued, "running": running, "predicted": time.perf_counter()}
        finally:
            batcher.release(count)
        if explain:
            await self._explain(exchange, served.loaded, items, predictions)
        return predictions

    async def _explain(
        self, exchange: Exchange, loaded: Loaded, items: list[Any], predictions: list[dict[str, Any]]
    ) -> None:
        """Add to each prediction its `explanation`. What the model answered for them counts as items."""
        work = asyncio.ensure_future(self._process.explainer.explain(loaded, items, predictions, _patience_s(exchange)))
        explained, seconds = await _unless_gone(work, exchange.receive)
        for prediction, explanation in zip(predictions, explained.explanations, strict=True):
            prediction["explanation"] = explanation
        exchange.items += explained.asked
        exchange.compute_us += int(seconds * 1e6)

    def _give_back(self, exchange: Exchange) -> None:
        """Only what was answered counts against the team's quota."""
        if exchange.admitted and exchange.route is not None:
            self._process.limits.give_back_quota(exchange.route.team)

    def _must_close(self, exchange: Exchange) -> bool:
        """Whether the client may be sending more than we want to read past."""
        if exchange.body_read:
            return False
        length = exchange.headers.get(b"content-length")
        return length is None or int(length) > _SMALL_BODY or b"expect" in exchange.headers


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
