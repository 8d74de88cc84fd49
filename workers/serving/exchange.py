"""One request that is metered: from its arrival to its answer, which leaves only after its usage record."""

import asyncio
import random
import time
from concurrent.futures import Executor
from typing import Any

import orjson

from workers.contracts import names
from workers.contracts.errors import InfraError, SlipwayError
from workers.contracts.snapshot import KeyEntry, Route, RouteRevision
from workers.serving.compression import PACKED, pack, wants_packed
from workers.serving.metering import Meter
from workers.serving.replays import Call
from workers.serving.replies import Headers, Receive, Send, error_body, error_headers, send_body


def new_request_id() -> str:
    """A fresh id: unique, no secret.

    Clients' own ids are not taken: the ledger counts each id once, so a repeated one would be free.
    """
    return f"{random.getrandbits(96):024x}"


class Exchange:
    """What is known of a predict or infer request so far. Times by `perf_counter`."""

    __slots__ = (
        "admitted",
        "body_read",
        "bytes_in",
        "bytes_out",
        "call",
        "code",
        "compute_us",
        "headers",
        "is_replay",
        "items",
        "key",
        "moments",
        "oip",
        "queue_us",
        "receive",
        "recorded",
        "remaining",
        "request_id",
        "revision",
        "route",
        "send",
        "started",
        "status",
    )

    def __init__(self, headers: dict[bytes, bytes], receive: Receive, send: Send, *, oip: bool) -> None:
        self.started = time.perf_counter()
        self.request_id = new_request_id()
        self.headers = headers
        self.receive = receive
        self.send = send
        self.oip = oip
        self.key: KeyEntry | None = None
        self.route: Route | None = None
        self.revision: RouteRevision | None = None
        # How many requests may follow at once.
        self.remaining = 0
        # Whether the limits have counted it, and whether its body has been read to the end.
        self.admitted = self.body_read = False
        # With an Idempotency-Key: what names this call, and whether its answer is that of an earlier one.
        self.call: Call | None = None
        self.is_replay = False
        self.items = self.bytes_in = self.compute_us = self.queue_us = 0
        # How it ended: the status (0 while it has not), the error's code, and the usage record, if one was made.
        self.status = self.bytes_out = 0
        self.code: str | None = None
        self.recorded: bytes | None = None
        # Where requests are traced: when the steps on its way began and ended.
        self.moments: dict[str, float] | None = None

    async def answer(self, meter: Meter, pool: Executor, body: bytes, headers: Headers) -> None:
        """Record the request as answered, then send the predictions, packed if the client takes that."""
        if wants_packed(self.headers, len(body)):
            body, headers = await pack(body, pool), [*headers, *PACKED]
        self.status, self.bytes_out = 200, len(body)
        try:
            await self._append(meter)
        except InfraError as error:
            await self._fail(error)
            return
        await self._send(200, body, headers)

    async def repeat(self, body: bytes, headers: Headers) -> None:
        """Send an earlier call's answer again. It was recorded then."""
        self.status, self.bytes_out = 200, len(body)
        await self._send(200, body, [*headers, (b"idempotency-replayed", b"true")])

    async def refuse(self, meter: Meter, error: SlipwayError | None, *, close: bool) -> None:
        """Record the refusal, if it can be said whose it is, then send it. None is a bug.

        `close` ends the connection: the client may still be sending a body that nobody will read.
        """
        body = error_body(error, self.request_id, oip=self.oip)
        self.items = 0
        self.status, self.code = (error.status, error.code) if error else (500, "internal_error")
        self.bytes_out = len(body)
        try:
            # Nobody's (neither key nor endpoint is known), or refused because nothing can be counted: no record.
            if (self.route or self.key) and self.code != "unavailable":
                await self._append(meter)
        except InfraError as failure:
            await self._fail(failure, close=close)
            return
        await self._send_error(error, body, close=close)

    async def _fail(self, error: InfraError, *, close: bool = False) -> None:
        """Say that the request could not be recorded."""
        body = error_body(error, self.request_id, oip=self.oip)
        self.status, self.code, self.bytes_out, self.items, self.recorded = error.status, error.code, len(body), 0, None
        await self._send_error(error, body, close=close)

    def _append(self, meter: Meter) -> "asyncio.Future[None]":
        """Begin to write the usage record."""
        self.recorded = self.record()
        if self.moments is not None:
            self.moments["recording"] = time.perf_counter()
        return meter.append(names.STREAM_USAGE, self.recorded)

    def record(self) -> bytes:
        """The usage record (workers.contracts.usage.UsageRecord) as JSON."""
        if self.recorded is not None:
            return self.recorded
        key, route, revision = self.key, self.route, self.revision
        team, project, endpoint = "", "", ""
        if route is not None:
            team, project, endpoint = route.team, route.project, route.endpoint
        elif key is not None:
            team = key.team
        return orjson.dumps(
            {
                "request_id": self.request_id,
                "time": time.time(),
                "team": team,
                "project": project,
                "endpoint": endpoint,
                "revision": revision.revision if revision else None,
                "model": revision.model if revision else None,
                "key": key.key if key else None,
                "status": self.status,
                "code": self.code,
                "items": self.items,
                "compute_us": self.compute_us,
                "queue_us": self.queue_us,
                "latency_us": int((time.perf_counter() - self.started) * 1e6),
                "bytes_in": self.bytes_in,
                "bytes_out": self.bytes_out,
            }
        )

    async def _send(self, status: int, body: bytes, headers: Headers, linger: Receive | None = None) -> None:
        if self.moments is not None:
            self.moments["recorded"] = time.perf_counter()
        remaining = (b"x-ratelimit-remaining", b"%d" % self.remaining)
        await send_body(self.send, status, body, self.request_id, [*headers, remaining], linger)

    async def _send_error(self, error: SlipwayError | None, body: bytes, *, close: bool) -> None:
        headers = error_headers(error)
        if close:
            headers.append((b"connection", b"close"))
        await self._send(error.status if error else 500, body, headers, linger=self.receive if close else None)


def predictions_body(revision: RouteRevision, predictions: list[dict[str, Any]], request_id: str) -> bytes:
    """The JSON answer of the predict route."""
    return orjson.dumps(
        {
            "model": {"id": revision.model, "number": revision.number},
            "predictions": predictions,
            "request_id": request_id,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
