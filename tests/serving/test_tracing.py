"""Traces, as a receiver of OTLP over HTTP gets them."""

import contextlib
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.serving.conftest import Stage
from tests.serving.running import serving, until
from tests.serving.test_statuses import PREDICT
from tests.stack import ROOT, free_ports

TRACE = "0af7651916cd43dd8448eb211c80319c"


@dataclass
class Receiver:
    """What has been received: the bodies, and their spans."""

    url: str
    bodies: list[bytes] = field(default_factory=list)
    spans: list[Any] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def take(self, body: bytes) -> None:
        """One export request."""
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def root(self, request_id: str) -> Any:
        """The request's own span, once it is there."""
        return until(
            lambda: next((s for s in self.spans if attributes(s).get("slipway.request_id") == request_id), None)
        )

    def steps(self, root: Any) -> dict[str, Any]:
        """The spans within a request's own."""
        return {span.name: span for span in self.spans if span.parent_span_id == root.span_id}


def attributes(span: Any) -> dict[str, Any]:
    """As plain values."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path == "/v1/traces":
                found.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_request_is_told_step_by_step(stage: Stage, redis_server: str) -> None:
    home = stage.serving.log.parent
    with receiving() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with (
            serving(home, redis_server, **variables) as running,
            httpx.Client(base_url=running.url, headers=stage.auth, trust_env=False) as client,
        ):
            parent = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            reply = client.post(PREDICT, json={"inputs": ["good film", "bad"]}, headers=parent)
            root = receiver.root(reply.json()["request_id"])
            assert (root.name, root.trace_id.hex(), root.parent_span_id.hex()) == ("predict", TRACE, "b7ad6b7169203331")
            until(lambda: len(receiver.steps(root)) == 5)
            steps = receiver.steps(root)
            order = [steps[name] for name in ("admit", "read", "queue", "run", "record")]
            for before, after in itertools.pairwise(order):
                assert before.start_time_unix_nano <= before.end_time_unix_nano <= after.start_time_unix_nano + 1000
            assert root.start_time_unix_nano == order[0].start_time_unix_nano
            assert order[-1].end_time_unix_nano <= root.end_time_unix_nano
            queue_us = (steps["queue"].end_time_unix_nano - steps["queue"].start_time_unix_nano) / 1000
            assert abs(queue_us - stage.record(reply)["queue_us"]) < 2
            told = attributes(root)
            assert (told["slipway.endpoint"], told["slipway.items"], told["http.response.status_code"]) == (
                "reviews",
                2,
                200,
            )

            refused = client.post(PREDICT, json={"inputs": [""]})
            root = receiver.root(refused.headers["x-request-id"])
            assert attributes(root)["error.type"] == refused.json()["error"]["code"]
            assert receiver.services == {"slipway-serving"}
            sent = b"".join(receiver.bodies)
            assert b"good film" not in sent and stage.key.encode() not in sent
            client.post(PREDICT, json={"inputs": ["good"]})
            assert running.stop() == 0
        # The last ones leave before the process ends.
        assert len([span for span in receiver.spans if span.name == "predict"]) == 3


def test_a_receiver_that_is_away_costs_no_answer(stage: Stage, redis_server: str) -> None:
    (nowhere,) = free_ports(1)
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nowhere}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with (
        serving(stage.serving.log.parent, redis_server, **variables) as running,
        httpx.Client(base_url=running.url, headers=stage.auth, trust_env=False) as client,
    ):
        for _ in range(20):
            assert client.post(PREDICT, json={"inputs": ["good"]}).status_code == 200
        assert running.stop() == 0


def test_without_an_exporter_nothing_of_tracing_is_loaded(tmp_path: Path) -> None:
    code = """if True:
        import asyncio, os, sys
        import workers.serving.__main__
        from workers.serving.config import Config
        from workers.serving.process import Process
        from workers.serving.trial import Trial

        async def make():
            config = Config.read(dict(REDIS_URL="redis://localhost:1", SLIPWAY_HOME=sys.argv[1]))
            return Process(config, Trial()).observer.tracer

        assert asyncio.run(make()) is None
        # redis-py looks for the metrics of OpenTelemetry by itself.
        tracing = ("opentelemetry.sdk.trace", "opentelemetry.exporter")
        assert not [name for name in sys.modules if name.startswith(tracing)]
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
