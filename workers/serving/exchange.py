"""One request that is metered: from its arrival to its answer, which leaves only after its usage record."""

import random
import time
from collections.abc import Callable
from typing import Any, Final

import orjson

from workers.contracts import names
from workers.contracts.errors import InfraError, SlipwayError
from workers.contracts.snapshot import KeyEntry, Route, RouteRevision
from workers.serving import cors
from workers.serving.counts import Place, place_of
from workers.serving.cycle import Cycle, Headers
from workers.serving.metering import Meter
from workers.serving.replays import Call
from workers.serving.replies import ONLY_JSON, error_body, error_headers, send_body, send_last

# A usage record: JSON by hand, since it is made for each request; only numbers and names of our own are put in.
_RECORD: Final = (
    b'{%b,"process":"%b","number":%d,"request_id":"%b","time":%a,"status":%d,"code":%b,"items":%d,'
    b'"compute_us":%d,"queue_us":%d,"latency_us":%d,"bytes_in":%d,"bytes_out":%d}'
)


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
        "cycle",
        "headers",
        "is_replay",
        "items",
        "key",
        "moments",
        "number",
        "oip",
        "pinned",
        "place",
        "predictions",
        "queue_us",
        "quota_left",
        "raws",
        "recorded",
        "remaining",
        "request_id",
        "revision",
        "route",
        "started",
        "status",
        "time",
    )

    def __init__(self, cycle: Cycle, *, oip: bool) -> None:
        self.started = time.perf_counter()
        self.request_id = new_request_id()
        self.cycle = cycle
        self.headers = cycle.headers
        self.oip = oip
        self.key: KeyEntry | None = None
        self.route: Route | None = None
        self.revision: RouteRevision | None = None
        # Whether the client named the revision.
        self.pinned = False
        # Raw inputs and predictions, where a shadow may want a copy.
        self.raws: list[Any] | None = None
        self.predictions: list[dict[str, Any]] = []
        # How many requests may follow at once, and how many this month; None is any number.
        self.remaining = 0
        self.quota_left: int | None = None
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
        # When it was recorded, where it is counted, and its number there (workers.serving.counts).
        self.time = 0.0
        self.place: Place = (0, "")
        self.number = 0
        # Where requests are traced: when the steps on its way began and ended.
        self.moments: dict[str, float] | None = None

    def answer(self, meter: Meter, body: bytes, headers: Headers, then: Callable[["Exchange"], None]) -> None:
        """Record the request as answered; when that is done, send the predictions, and call `then`.

        Nobody waits for it here: the record's arrival in Redis sends the answer, after the meter's next `flush`.
        """
        self.status, self.bytes_out = 200, len(body)
        record = self._numbered_record(meter)

        def recorded(error: InfraError | None) -> None:
            meter.counts.settle(self.place, self.number, written=error is None)
            if error is None:
                self._send(200, body, headers)
            else:
                self._send(error.status, self._unrecorded(error), error_headers(error))
            then(self)

        try:
            meter.put(names.STREAM_USAGE, record, recorded)
        except InfraError as error:
            recorded(error)

    def repeat(self, body: bytes, headers: Headers) -> None:
        """Send an earlier call's answer again. It was recorded then."""
        self.status, self.bytes_out = 200, len(body)
        self._send(200, body, [*headers, (b"idempotency-replayed", b"true")])

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
                await meter.append(names.STREAM_USAGE, self._numbered_record(meter))
                meter.counts.settle(self.place, self.number, written=True)
        except InfraError as failure:
            meter.counts.settle(self.place, self.number, written=False)
            error, body = failure, self._unrecorded(failure)
        headers = error_headers(error)
        if close:
            await send_last(self.cycle, self.status, body, self.request_id, [*headers, *self._own_headers()])
        else:
            self._send(self.status, body, headers)

    def _unrecorded(self, error: InfraError) -> bytes:
        """The body that says that the request could not be recorded."""
        body = error_body(error, self.request_id, oip=self.oip)
        self.status, self.code, self.bytes_out, self.items, self.recorded = error.status, error.code, len(body), 0, None
        return body

    def _numbered_record(self, meter: Meter) -> bytes:
        """The usage record, with the process's number for it."""
        if self.moments is not None:
            self.moments["recording"] = time.perf_counter()
        self.time = time.time()
        self.place = place_of(self._team(), self.time)
        self.number = meter.counts.number(self.place)
        return self.record(meter.counts.process)

    def _team(self) -> str:
        """Whose request it is: the endpoint's, else the key's."""
        owner = self.route or self.key
        return owner.team if owner else ""

    def record(self, process: str = "") -> bytes:
        """The usage record (workers.contracts.usage.UsageRecord) as JSON."""
        if self.recorded is not None:
            return self.recorded
        self.recorded = _RECORD % (
            *(self._whose(), process.encode(), self.number if process else 0, self.request_id.encode()),
            *(self.time or time.time(), self.status, orjson.dumps(self.code), self.items),
            *(self.compute_us, self.queue_us, int((time.perf_counter() - self.started) * 1e6)),
            *(self.bytes_in, self.bytes_out),
        )
        return self.recorded

    def _whose(self) -> bytes:
        """Whose request it is, as a part of a JSON object: looked up where it came before."""
        head, revision = self.cycle.head, self.revision
        known = head.known if head is not None else None
        if known is None or revision is None or known.key is not self.key or known.route is not self.route:
            return self._encoded_whose()
        whose = known.whose.get(revision.revision)
        if whose is None:
            whose = known.whose[revision.revision] = self._encoded_whose()
        return whose

    def _encoded_whose(self) -> bytes:
        key, route, revision = self.key, self.route, self.revision
        return orjson.dumps(
            {
                "team": self._team(),
                "project": route.project if route else "",
                "endpoint": route.endpoint if route else "",
                "revision": revision.revision if revision else None,
                "model": revision.model if revision else None,
                "pinned": self.pinned,
                "key": key.key if key else None,
            }
        )[1:-1]

    def _send(self, status: int, body: bytes, headers: Headers) -> None:
        if status == 200 and headers is ONLY_JSON and self._is_plain():
            self.cycle.send_predictions(body, self.request_id, self.remaining)
            return
        send_body(self.cycle, status, body, self.request_id, [*headers, *self._own_headers()])

    def _is_plain(self) -> bool:
        """Whether its answer has no other header than nearly all have."""
        return (
            self.quota_left is None
            and self.cycle.keep_alive
            and self.moments is None
            and not (self.key is not None and self.key.origins)
        )

    def _own_headers(self) -> Headers:
        """How many requests are left, at once and this month; and whether a web page may read the answer."""
        if self.moments is not None:
            self.moments["recorded"] = time.perf_counter()
        found = [(b"x-ratelimit-remaining", b"%d" % self.remaining)]
        if self.quota_left is not None:
            found.append((b"x-quota-remaining", b"%d" % self.quota_left))
        if self.key is not None and self.key.origins:
            found += cors.answer_headers(self.headers, self.key)
        return found


def variant_of(revision: RouteRevision) -> dict[str, str]:
    """{"variant"} where it is not the model itself."""
    return {"variant": revision.variant} if revision.variant else {}


def predictions_body(revision: RouteRevision, predictions: list[dict[str, Any]], request_id: str) -> bytes:
    """The JSON answer of the predict route."""
    return orjson.dumps(
        {
            "model": {"id": revision.model, "number": revision.number, **variant_of(revision)},
            "predictions": predictions,
            "request_id": request_id,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
