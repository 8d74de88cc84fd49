"""What one process counts, as families of samples: the shape of Prometheus, in plain values."""

from collections.abc import Iterator

from prometheus_client import ProcessCollector

from workers.serving.metrics import EndpointCounts, Histogram
from workers.serving.process import Process

# Name's ending, labels, value.
Sample = tuple[str, dict[str, str], float]
# Name, kind, help, samples.
Family = tuple[str, str, str, list[Sample]]


def families(process: Process) -> Iterator[Family]:
    """What one process counts. Not in the loop's thread: tables that grow are copied before they are walked."""
    yield from _of_requests(process.observer.counts)
    yield from _of_models(process)
    yield from _of_the_process(process)


def _of_requests(counts: dict[str, EndpointCounts]) -> Iterator[Family]:
    known = sorted(list(counts.items()))  # noqa: C414 (a copy in one step)
    yield (
        *("slipway_requests", "counter", "Requests that were answered or refused, by class of status."),
        [
            ("_total", {"endpoint": slug, "status": f"{digit}xx"}, count.statuses[digit])
            for slug, count in known
            for digit in (2, 4, 5)
        ],
    )
    yield (
        *("slipway_errors", "counter", "Refusals and failures by error code."),
        [
            ("_total", {"endpoint": slug, "code": code}, number)
            for slug, count in known
            for code, number in list(count.errors.items())
        ],
    )
    for name, attribute, text in (
        ("slipway_items", "items", "Inputs that were predicted."),
        ("slipway_request_bytes", "bytes_in", "Bytes of the bodies of requests."),
        ("slipway_response_bytes", "bytes_out", "Bytes of the bodies of answers."),
        ("slipway_replays", "replays", "Answers that were given again to the same Idempotency-Key."),
        ("slipway_disconnects", "left", "Clients that hung up before there was an answer."),
    ):
        yield (
            name,
            "counter",
            text,
            [("_total", {"endpoint": slug}, getattr(count, attribute)) for slug, count in known],
        )
    for name, attribute, text in (
        ("slipway_latency_seconds", "latency", "From a request's headers to its answer; answered requests alone."),
        ("slipway_queue_seconds", "queue", "Wait for the model; answered requests alone."),
    ):
        samples = [
            sample
            for slug, count in known
            for sample in _histogram({"endpoint": slug}, getattr(count, attribute), 1e6)
            if slug
        ]
        yield name, "histogram", text, samples


def _of_models(process: Process) -> Iterator[Family]:
    slugs = {
        revision.bundle_sha256: route.slug
        for route in reversed(process.directory.snapshot.routes)
        for revision in route.revisions
    }
    loaded = [
        ({"endpoint": slugs.get(revision.bundle_sha256, ""), "model": revision.model}, served.batcher)
        for revision, served in process.models.loaded()
    ]
    for name, attribute, text, unit in (
        ("slipway_batch_size", "sizes", "Inputs that were predicted in one run of the model.", 1.0),
        ("slipway_run_seconds", "runs", "Runs of the model.", 1e6),
    ):
        samples = [
            sample for labels, batcher in loaded for sample in _histogram(labels, getattr(batcher, attribute), unit)
        ]
        yield name, "histogram", text, samples
    waiting: list[Sample] = [("", labels, batcher.held) for labels, batcher in loaded]
    yield "slipway_queue_items", "gauge", "Inputs that wait for the model or are being predicted.", waiting
    states = [status.partition(":")[0] for status in process.models.status().values()]
    yield (
        *("slipway_revisions", "gauge", "Deployed revisions by what this process has of them."),
        [("", {"state": state}, states.count(state)) for state in sorted({"ready", "loading", "failed", *states})],
    )
    yield "slipway_models_loaded", "gauge", "Models in memory.", [("", {}, len(loaded))]
    yield "slipway_models_bytes", "gauge", "Memory of the loaded models, as measured.", [("", {}, process.models.used)]
    yield "slipway_models_limit_bytes", "gauge", "Memory that models may take.", [("", {}, process.models.budget)]


def _of_the_process(process: Process) -> Iterator[Family]:
    now = process.clock()
    for name, value, text in (
        ("slipway_body_bytes_free", process.bodies.left, "Room for the bodies of requests."),
        ("slipway_spool_bytes", process.meter.spooled_bytes, "Usage records on disk that wait for Redis."),
        ("slipway_routes", len(process.directory.routes), "Deployed endpoints."),
        ("slipway_snapshot_age_seconds", now - process.directory.seen, "Since Redis last said what is deployed."),
        ("slipway_ready", process.not_ready_because() is None, "1 where requests should come to this process."),
    ):
        yield name, "gauge", text, [("", {}, float(value))]
    for metric in ProcessCollector(registry=None).collect():  # memory, CPU seconds, file descriptors, start
        ending = "_total" if metric.type == "counter" else ""
        yield metric.name, metric.type, metric.documentation, [(ending, {}, sample.value) for sample in metric.samples]


def _histogram(labels: dict[str, str], histogram: Histogram, unit: float) -> Iterator[Sample]:
    """Samples of a histogram whose values are to be divided by `unit`."""
    below = 0
    for bound, count in zip([*histogram.bounds, None], histogram.counts, strict=True):
        below += count
        yield "_bucket", {**labels, "le": "+Inf" if bound is None else repr(bound / unit)}, below
    yield "_count", labels, below
    yield "_sum", labels, histogram.total / unit
