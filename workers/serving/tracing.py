"""OpenTelemetry traces of predictions, where an exporter is configured; else nothing of this is loaded.

A request's spans are made when it has ended, from the moments that were noted on its way: nothing waits for them.
"""

import asyncio
import os
import threading
import time
from collections.abc import Mapping
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from workers.serving.exchange import Exchange

# How long the end of the process waits for the last spans to be sent.
_PATIENCE_S: Final = 3.0
_PARENT: Final = ("traceparent", "tracestate")


class Tracer:
    """Sends the spans of requests. What it does not set (sampler, headers, time-outs) follows the OTEL_ variables."""

    def __init__(self, process: str) -> None:
        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or "slipway-serving"})
        resource = resource.merge(Resource({"service.instance.id": process}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("slipway.serving")
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, exchange: Exchange, moments: Mapping[str, float]) -> None:
        """Send the spans of a request: `moments` are `perf_counter` seconds at which its steps began or ended."""
        offset = time.time() - time.perf_counter()

        def nanoseconds(moment: float) -> int:
            return int((moment + offset) * 1e9)

        parent = {name: value.decode("latin-1") for name in _PARENT if (value := exchange.headers.get(name.encode()))}
        span = self._tracer.start_span(
            "infer" if exchange.oip else "predict",
            self._propagator.extract(parent) if parent else None,
            SpanKind.SERVER,
            _attributes(exchange),
            start_time=nanoseconds(exchange.started),
        )
        if span.is_recording():
            if exchange.status >= 500:
                span.set_status(Status(StatusCode.ERROR, exchange.code))
            within = set_span_in_context(span)
            for name, start, end in _STEPS:
                begun = exchange.started if start is None else moments.get(start)
                if begun is not None and (ended := moments.get(end)) is not None:
                    step = self._tracer.start_span(name, within, start_time=nanoseconds(begun))
                    step.end(nanoseconds(ended))
        span.end()

    async def stop(self) -> None:
        """Send what is left, unless the receiver is slow or away."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _PATIENCE_S)


# A step's name, and the moments between which it is; None is the request's arrival.
_STEPS: Final[tuple[tuple[str, str | None, str], ...]] = (
    ("admit", None, "admitted"),
    ("read", "admitted", "queued"),
    ("queue", "queued", "running"),
    ("run", "running", "predicted"),
    ("record", "recording", "recorded"),
)


def _attributes(exchange: Exchange) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "http.request.method": "POST",
        "http.response.status_code": exchange.status,
        "http.request.body.size": exchange.bytes_in,
        "http.response.body.size": exchange.bytes_out,
        "slipway.request_id": exchange.request_id,
        "slipway.items": exchange.items,
    }
    if exchange.route is not None:
        found["slipway.endpoint"] = exchange.route.slug
    if exchange.revision is not None:
        found["slipway.revision"] = exchange.revision.revision
        found["slipway.model"] = exchange.revision.model
    if exchange.code is not None:
        found["error.type"] = exchange.code
    return found
