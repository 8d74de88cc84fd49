"""The application: which address does what."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Self

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workers.contracts import names
from workers.contracts.errors import InfraError, SlipwayError, UserError
from workers.contracts.snapshot import KeyEntry, Route
from workers.contracts.usage import FeedbackRecord
from workers.serving import bodies, cors, describe, oip
from workers.serving.auth import authenticate, route_for
from workers.serving.config import MAX_FEEDBACK_BODY
from workers.serving.cycle import Cycle
from workers.serving.exchange import new_request_id
from workers.serving.exposition import Exposition, check_reader
from workers.serving.predict import REVISION_HEADER, Predict
from workers.serving.process import Process
from workers.serving.replies import CLOSE, JSON, error_body, error_headers, send_body

log = structlog.get_logger(__name__)

_MAX_HEADERS: Final = 100
_VERSION: Final = "1"
Answer = Callable[["Request"], Awaitable[None]]


class Request:
    """A request of an address that is not metered."""

    __slots__ = ("client", "cycle", "headers", "key", "receive", "request_id", "slug")

    def __init__(self, cycle: Cycle, slug: str) -> None:
        self.cycle, self.slug = cycle, slug
        self.headers, self.receive = cycle.headers, cycle.receive
        self.client = cycle.client
        self.request_id = new_request_id()
        # Set once it is known.
        self.key: KeyEntry | None = None

    async def reply(self, value: Any, status: int = 200) -> None:
        """Send a JSON value."""
        headers = [JSON, *cors.answer_headers(self.headers, self.key)]
        send_body(self.cycle, status, orjson.dumps(value), self.request_id, headers)


Label = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[^\x00]+$")]


class Feedback(BaseModel):
    """The body of a feedback request: the right `label`, or all right `labels` where there may be several."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request_id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    index: int = Field(default=0, ge=0, lt=10_000)
    label: Label | None = None
    labels: list[Label] | None = Field(default=None, max_length=1000)

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.label is None) == (self.labels is None):
            raise ValueError("send either label or labels")
        return self


class App:
    """Routes requests. The two metered ones, predict and infer, are in Predict."""

    def __init__(self, process: Process, exposition: Exposition) -> None:
        self._process = process
        self._exposition = exposition
        self._predict = Predict(process)
        # The first is the method. HEAD is GET without the body, which `Cycle` leaves out.
        self._fixed: dict[str, tuple[str, Answer]] = {
            "/healthz": ("GET", self._live),
            "/readyz": ("GET", self._ready),
            "/metrics": ("GET", self._metrics),
            "/v2": ("GET", self._server),
            "/v2/health/live": ("GET", self._live),
            "/v2/health/ready": ("GET", self._ready),
        }
        self._by_slug: dict[tuple[str, str], tuple[str, Answer]] = {
            ("v1", ""): ("GET", self._describe),
            ("v1", "feedback"): ("POST", self._feedback),
            ("v2", ""): ("GET", self._metadata),
            ("v2", "ready"): ("GET", self._model_ready),
        }

    def __call__(self, cycle: Cycle) -> Awaitable[None] | None:
        """Begin to answer one HTTP request; the rest of it, if it has to wait for something."""
        if cycle.head is not None and (known := cycle.head.known) is not None:
            return self._predict.serve(cycle, known.slug, is_oip=known.is_oip)
        if "/versions/" in cycle.path:
            _ask_for_version(cycle)
        headers, path = cycle.headers, cycle.path
        if len(headers) > _MAX_HEADERS or not self._process.knows_host(headers.get(b"host", b"")):
            return self._refuse(cycle, UserError("bad_request", "The Host or the headers are not acceptable."))
        parts = path.split("/", 4)
        if len(parts) == 5 and cycle.method == "POST":
            if parts[4] == "predict" and parts[1] == "v1" and parts[2] == "endpoints":
                return self._predict.serve(cycle, parts[3], is_oip=False)
            if parts[4] == "infer" and parts[1] == "v2" and parts[2] == "models":
                return self._predict.serve(cycle, parts[3], is_oip=True)
        return self._route(cycle, path)

    async def _route(self, cycle: Cycle, path: str) -> None:
        is_oip = path.startswith("/v2")
        found, slug = self._fixed.get(path), ""
        if found is None and (match := _ADDRESS.match(path)):
            version, slug, rest = match[1] or match[2], match[3], match[4] or ""
            if rest in ("predict", "infer"):
                found = ("POST", self._live) if (version, rest) in _METERED else None
            else:
                found = self._by_slug.get((version, rest))
        if found is None:
            return await self._refuse(cycle, UserError("not_found"), is_oip=is_oip)
        allowed, answer = found
        if cycle.method == "OPTIONS":
            directory = self._process.directory
            granted = cors.preflight_headers(cycle.headers, directory.routes.get(slug), directory)
            if granted is not None:
                return send_body(cycle, 200, b"", new_request_id(), granted)
        if cycle.method not in _METHODS[allowed]:
            error = UserError("method_not_allowed", allow=", ".join(_METHODS[allowed]))
            return await self._refuse(cycle, error, is_oip=is_oip)
        request = Request(cycle, slug)
        try:
            await answer(request)
        except bodies.ClientGone:
            return None
        except SlipwayError as error:
            await self._refuse(cycle, error, is_oip=is_oip, request=request)
        except Exception:
            log.exception("unhandled", request_id=request.request_id)
            await self._refuse(cycle, None, is_oip=is_oip, request=request)

    async def _refuse(
        self, cycle: Cycle, error: SlipwayError | None, *, is_oip: bool = False, request: Request | None = None
    ) -> None:
        """Send an error of a request that is not metered, and hang up: a body may still be on its way."""
        request_id = request.request_id if request else new_request_id()
        headers = [*error_headers(error), CLOSE]
        if request is not None:
            headers += cors.answer_headers(request.headers, request.key)
        body = error_body(error, request_id, oip=is_oip)
        send_body(cycle, error.status if error else 500, body, request_id, headers)

    # --- Health ---

    async def _live(self, request: Request) -> None:
        await request.reply({"live": True})

    async def _ready(self, request: Request) -> None:
        if reason := self._process.not_ready_because():
            raise InfraError("unavailable", f"Not ready: {reason}.", retry_after=1)
        await request.reply({"ready": True})

    async def _server(self, request: Request) -> None:
        await request.reply({"name": "slipway", "version": _VERSION, "extensions": ["binary_tensor_data"]})

    async def _metrics(self, request: Request) -> None:
        check_reader(self._process.config, request.headers, request.client)
        text, content_type = await self._exposition.text(request.headers.get(b"accept", b"").decode("latin-1"))
        send_body(request.cycle, 200, text, request.request_id, [(b"content-type", content_type.encode())])

    # --- Endpoints ---

    async def _allowed(self, request: Request) -> tuple[KeyEntry, Route]:
        directory = self._process.directory
        if self._process.watch.is_late:
            await self._process.watch.look()
        try:
            key = request.key = authenticate(request.headers, directory)
            return key, route_for(key, request.slug, directory)
        except UserError:
            await self._process.watch.look()
            key = request.key = authenticate(request.headers, directory)
            return key, route_for(key, request.slug, directory)

    async def _describe(self, request: Request) -> None:
        _, route = await self._allowed(request)
        await request.reply(await describe.endpoint(route, self._process.models))

    async def _metadata(self, request: Request) -> None:
        _, route = await self._allowed(request)
        self._asked_for(request, route)
        _, served = await self._process.models.answering(route)
        versions = [revision.version for revision in route.revisions if revision.traffic]
        await request.reply(oip.metadata(route.slug, route.kind, served.loaded.predictor, versions))

    async def _model_ready(self, request: Request) -> None:
        _, route = await self._allowed(request)
        self._asked_for(request, route)
        self._process.models.pick(route)
        await request.reply({"name": route.slug, "ready": True})

    def _asked_for(self, request: Request, route: Route) -> None:
        """Raises UserError `revision_not_found` where the address names a version that is not deployed."""
        if (asked := request.headers.get(REVISION_HEADER)) is not None:
            self._process.models.pick(route, asked)

    async def _feedback(self, request: Request) -> None:
        process = self._process
        key, route = await self._allowed(request)
        process.limits.take_rate(key, route, process.clock())
        name, _ = bodies.media_type(request.headers)
        if name != "application/json":
            raise UserError("unsupported_media_type", "Feedback is application/json.")
        bodies.declared_length(request.headers, MAX_FEEDBACK_BODY)
        body = await bodies.read_content(request.receive, request.headers, MAX_FEEDBACK_BODY, process.parsing)
        try:
            sent = Feedback.model_validate(await bodies.parse_json(body, process.parsing))
        except ValidationError as error:
            fields = [
                {"field": ".".join(map(str, problem["loc"])), "message": problem["msg"]}
                for problem in error.errors(include_url=False, include_input=False)
            ]
            raise UserError("invalid", fields=fields) from None
        record = FeedbackRecord(
            request_id=sent.request_id,
            index=sent.index,
            label=sent.label or "",
            labels=sent.labels,
            team=key.team,
            endpoint=route.endpoint,
            key=key.key,
            time=time.time(),
        )
        await process.meter.append(names.STREAM_FEEDBACK, record.model_dump_json().encode())
        # Whether the id is one of this endpoint's predictions is looked up later, in the ledger.
        await request.reply({"request_id": sent.request_id, "index": sent.index, "accepted": True}, 202)


_ADDRESS: Final = re.compile(r"/(?:(v1)/endpoints|(v2)/models)/([a-z0-9-]{1,80})(?:/(\w+))?\Z")
_VERSIONED: Final = re.compile(r"(/v2/models/[a-z0-9-]{1,80})/versions/([\w-]{1,40})((?:/\w+)?)\Z", re.ASCII)
_METHODS: Final = {"GET": ("GET", "HEAD"), "POST": ("POST",)}
_METERED: Final = frozenset({("v1", "predict"), ("v2", "infer")})


def _ask_for_version(cycle: Cycle) -> None:
    """The Open Inference Protocol lets the address name a version: that is the revision asked for."""
    if match := _VERSIONED.match(cycle.path):
        # Such a head is not to be known again: its address is not what is answered.
        cycle.head = None
        cycle.path = match[1] + match[3]
        cycle.headers = {**cycle.headers, REVISION_HEADER: match[2].encode()}
