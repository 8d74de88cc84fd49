"""The two metered routes, predict and infer: admit, read, predict, record, answer."""

import asyncio
from typing import Any

import structlog

from workers.contracts.errors import SlipwayError
from workers.contracts.snapshot import Route
from workers.serving import bodies, oip
from workers.serving.auth import authenticate, route_for
from workers.serving.batcher import Job, as_client_error
from workers.serving.config import MAX_BODY
from workers.serving.exchange import Exchange, predictions_body
from workers.serving.loader import Served
from workers.serving.process import Process
from workers.serving.replies import JSON, Headers, Receive, Send

log = structlog.get_logger(__name__)

# Smaller bodies are in memory already, or soon: they are read past rather than refused by hanging up.
_SMALL_BODY = 64 * 2**10


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
        error: SlipwayError | None
        try:
            body, reply_headers = await self._predictions(exchange, slug)
        except bodies.ClientGone:
            self._give_back(exchange)
            return
        except Exception as raised:
            error = as_client_error(raised)
            if error is None:
                log.exception("prediction failed", request_id=exchange.request_id, endpoint=slug)
                error = SlipwayError("prediction_failed") if exchange.items else None
        else:
            if process.draining:
                reply_headers.append((b"connection", b"close"))
            await exchange.answer(process.meter, process.access_log, body, reply_headers)
            return
        self._give_back(exchange)
        await exchange.refuse(process.meter, process.access_log, error, close=self._must_close(exchange))

    async def _predictions(self, exchange: Exchange, slug: str) -> tuple[bytes, Headers]:
        """The body and headers of a 200. Raises whatever stands against it."""
        process = self._process
        directory = process.directory
        # An unknown key on a known endpoint is a refusal that the endpoint's team gets to see.
        exchange.route = directory.routes.get(slug)
        key = exchange.key = authenticate(exchange.headers, directory)
        exchange.route = None
        try:
            route = route_for(key, slug, directory)
        except SlipwayError as error:
            if error.code == "key_not_for_endpoint":
                exchange.route = directory.routes[slug]
            raise
        exchange.route = route
        remaining = process.limits.take(key, route, process.clock())
        exchange.admitted = True
        exchange.revision, served = process.models.pick(route)
        free = served.batcher.free
        exchange.remaining = free if remaining is None else min(remaining, free)
        limit = MAX_BODY[route.kind]
        length = bodies.declared_length(exchange.headers, limit)
        if length is not None and length <= _SMALL_BODY:
            return await self._read_and_predict(exchange, route, served, limit)
        held = limit if length is None else length
        process.bodies.take(held)
        try:
            return await self._read_and_predict(exchange, route, served, limit)
        finally:
            process.bodies.left += held

    async def _read_and_predict(
        self, exchange: Exchange, route: Route, served: Served, limit: int
    ) -> tuple[bytes, Headers]:
        pool = self._process.parsing
        revision = exchange.revision
        assert revision is not None
        if exchange.oip:
            request = await oip.read(exchange.receive, exchange.headers, route.kind, limit, pool)
            exchange.body_read, exchange.bytes_in = True, request.bytes_in
            predictions = await self._run(exchange, route, served, request.raws)
            labels = served.loaded.predictor.labels
            return oip.answer(request, route.slug, revision.number, route.kind, labels, predictions)
        raws, exchange.bytes_in = await bodies.read_inputs(exchange.receive, exchange.headers, route.kind, limit, pool)
        exchange.body_read = True
        predictions = await self._run(exchange, route, served, raws)
        return predictions_body(revision, predictions, exchange.request_id), [JSON]

    async def _run(self, exchange: Exchange, route: Route, served: Served, raws: list[Any]) -> list[dict[str, Any]]:
        """Predictions for raw inputs, through the model's queue."""
        batcher, predictor = served.batcher, served.loaded.predictor
        count = len(raws)
        batcher.reserve(count)
        try:
            if route.kind == "image":  # decoding takes milliseconds, and lets other threads run
                items = await asyncio.get_running_loop().run_in_executor(self._process.parsing, predictor.parse, raws)
            else:
                items = predictor.parse(raws)
            exchange.items = count
            job = batcher.submit(items)
            predictions = await (job.future if batcher.on_loop else _unless_gone(job, exchange.receive))
            exchange.queue_us, exchange.compute_us = job.queue_us, job.compute_us
            return predictions
        finally:
            batcher.release(count)

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


async def _unless_gone(job: Job, receive: Receive) -> list[dict[str, Any]]:
    """The job's predictions; if the client leaves first, the job leaves the queue. Raises ClientGone."""
    gone = asyncio.ensure_future(receive())
    try:
        either: list[asyncio.Future[Any]] = [job.future, gone]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not job.future.done():
            job.future.cancel()
            raise bodies.ClientGone
        return job.future.result()
    finally:
        gone.cancel()
