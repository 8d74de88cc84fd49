"""What `GET /metrics` tells, and to whom."""

import signal
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.serving.conftest import Stage
from tests.serving.running import serving, until

TOKEN = "a-token-of-some-length"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(url: str, **headers: str) -> Samples:
    """Every sample by its name and labels; the label `process` is left out where there is one process."""
    reply = httpx.get(f"{url}/metrics", headers=headers, trust_env=False)
    assert reply.status_code == 200, reply.text
    samples = [sample for family in parse(reply.text) for sample in family.samples]
    one = len({sample.labels["process"] for sample in samples}) == 1
    found = {
        (sample.name, frozenset((k, v) for k, v in sample.labels.items() if not (one and k == "process"))): sample.value
        for sample in samples
    }
    assert len(found) == len(samples)
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """Of one sample."""
    return samples[name, frozenset(labels.items())]


def summed(samples: Samples, name: str, label: str) -> Counter[str]:
    """Of all samples of a name, by one of their labels."""
    found: Counter[str] = Counter()
    for (known, labels), number in samples.items():
        if known == name:
            found[dict(labels)[label]] += int(number)
    return found


def test_what_is_counted_is_what_the_ledger_holds(own_stage: Stage) -> None:
    for inputs in (["good"], ["good", "bad", "good film"], [""], [1]):
        own_stage.predict(inputs)
    own_stage.predict(["good"], key="sk_none")
    own_stage.predict(["good"], slug="unknown")
    samples, records = scrape(own_stage.serving.url), own_stage.control.records()
    ours = [record for record in records if record["endpoint"] == own_stage.text.endpoint]
    for digit in (2, 4, 5):
        counted = value(samples, "slipway_requests_total", endpoint="reviews", status=f"{digit}xx")
        assert counted == sum(record["status"] // 100 == digit for record in ours)
    codes = Counter(record["code"] for record in ours if record["code"])
    assert {
        code: value(samples, "slipway_errors_total", endpoint="reviews", code=code) for code in codes
    } == codes and codes["key_invalid"] == 1
    assert value(samples, "slipway_errors_total", endpoint="", code="endpoint_not_found") == 1
    for name, field in (("items", "items"), ("request_bytes", "bytes_in"), ("response_bytes", "bytes_out")):
        assert value(samples, f"slipway_{name}_total", endpoint="reviews") == sum(record[field] for record in ours)
    assert value(samples, "slipway_latency_seconds_count", endpoint="reviews") == 2
    latency = sum(record["latency_us"] for record in ours if record["status"] == 200) / 1e6
    assert latency <= value(samples, "slipway_latency_seconds_sum", endpoint="reviews") < latency + 1
    queue = sum(record["queue_us"] for record in ours) / 1e6
    assert value(samples, "slipway_queue_seconds_sum", endpoint="reviews") == pytest.approx(queue)


def test_batches_models_and_memory_are_told(own_stage: Stage) -> None:
    own_stage.predict(["good"] * 5)
    samples, model = scrape(own_stage.serving.url), own_stage.text.revisions[0].model
    labels = {"endpoint": "reviews", "model": model}
    assert value(samples, "slipway_batch_size_sum", **labels) == 5
    assert value(samples, "slipway_batch_size_bucket", **labels, le="4.0") == 0
    assert value(samples, "slipway_batch_size_bucket", **labels, le="8.0") == 1
    assert value(samples, "slipway_batch_size_bucket", **labels, le="+Inf") == 1
    assert value(samples, "slipway_run_seconds_count", **labels) == 1
    assert value(samples, "slipway_queue_items", **labels) == 0
    assert value(samples, "slipway_models_loaded") == 3
    assert value(samples, "slipway_revisions", state="ready") == 3
    assert value(samples, "slipway_ready") == 1
    assert value(samples, "process_resident_memory_bytes") > 10e6
    assert value(samples, "process_cpu_seconds_total") > 0


def test_openmetrics_is_spoken_to_those_who_ask_for_it(stage: Stage) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    reply = stage.client.get("/metrics", headers={"Accept": accept})
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert "slipway_requests" in {family.name for family in parse_openmetrics(reply.text)}


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_what_came_through_a_proxy_is_not_told(stage: Stage, header: str) -> None:
    reply = stage.client.get("/metrics", headers={header: "127.0.0.1"})
    assert reply.status_code == 404 and "slipway_requests" not in reply.text


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, redis_server: str, stage: Stage) -> Iterator[str]:
    """A process that others reach by a public name; its address here."""
    home = stage.serving.log.parent
    with serving(home, redis_server, SLIPWAY_PREDICT_URL="https://api.example.com") as running:
        yield running.url


def test_a_published_process_tells_nobody_without_a_token(published: str) -> None:
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {TOKEN}"}):
        assert httpx.get(f"{published}/metrics", headers=headers, trust_env=False).status_code == 404


def test_the_token_is_asked_for_and_opens(stage: Stage, redis_server: str) -> None:
    home = stage.serving.log.parent
    variables = {"SLIPWAY_PREDICT_URL": "https://api.example.com", "SLIPWAY_METRICS_TOKEN": TOKEN}
    with serving(home, redis_server, **variables) as running:
        for sent in ("", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {stage.key}", TOKEN):
            reply = httpx.get(f"{running.url}/metrics", headers={"Authorization": sent}, trust_env=False)
            assert reply.status_code == 401 and "slipway_requests" not in reply.text
        assert scrape(running.url, Authorization=f"Bearer {TOKEN}")
        assert TOKEN not in running.log.read_text()


def test_one_process_answers_for_all_that_share_its_home(own_stage: Stage, redis_server: str) -> None:
    home = own_stage.serving.log.parent
    with serving(home, redis_server) as second:
        own_stage.predict(["good"])
        for _ in range(2):
            reply = httpx.post(
                f"{second.url}/v1/endpoints/reviews/predict",
                json={"inputs": ["bad"]},
                headers=own_stage.auth,
                trust_env=False,
            )
            assert reply.status_code == 200
        for url in (own_stage.serving.url, second.url):
            counted = summed(scrape(url), "slipway_items_total", "process")
            assert sorted(counted.values()) == [1, 2]
        second.stop(signal.SIGKILL)
        until(
            lambda: sorted(summed(scrape(own_stage.serving.url), "slipway_items_total", "endpoint").values()) == [0, 1]
        )
