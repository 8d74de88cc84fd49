"""Inputs that a user named an address of are fetched by the runner, before the job's own process starts."""

import socket
import time
from dataclasses import replace

from tests.fetch.far import INSIDE, far_end, ok, policy, redirect
from tests.runner.bench import JOB, SOURCE, Bench, make_spec, until
from workers.contracts import names
from workers.contracts.job import InputFile, JobSpec
from workers.fetch.policy import Policy
from workers.runner.host import run_job

KEY = SOURCE[:-1] + "b"


def spec_of(url: str, attempt: int = 1) -> JobSpec:
    inputs = [InputFile(name="source", key=KEY, url=url, max_bytes=1000)]
    return make_spec("succeed", attempt).model_copy(update={"inputs": inputs})


def run(bench: Bench, spec: JobSpec, allowed: Policy | None = None) -> None:
    bench.queue(spec)
    host = replace(bench.host(), policy=policy() if allowed is None else allowed)
    assert run_job(host, None, spec.job, spec.attempt)


def test_a_file_is_fetched_once_and_kept_in_storage(bench: Bench) -> None:
    with far_end(ok(b"text,label\n")) as far:
        run(bench, spec_of(far.url))
        assert bench.types()[-1] == "succeeded"
        assert bench.events()[1]["phase"].startswith("Fetching the file")
        assert bench.storage.read_bytes(KEY) == b"text,label\n"
        bench.storage.delete(f"{names.attempt_prefix(JOB, 1)}/result.json")
        run(bench, spec_of(far.url, attempt=2))
        assert bench.types()[-1] == "succeeded" and len(far.asked) == 1


def test_what_may_not_be_fetched_fails_the_job_with_a_card(bench: Bench) -> None:
    with far_end(ok(b"secret"), INSIDE) as canary, far_end(redirect(canary.url)) as far:
        run(bench, spec_of(far.url))
        last = bench.events()[-1]
        assert (last["type"], last["error"]["code"]) == ("failed", "url_not_allowed")
        assert INSIDE not in str(last)
        assert canary.asked == [] and not bench.storage.exists(KEY)


def test_a_runner_does_what_its_own_operator_allows(bench: Bench) -> None:
    with far_end(ok(b"secret")) as far:
        run(bench, spec_of(far.url), Policy())
        assert bench.events()[-1]["error"]["code"] == "url_not_allowed"
        assert far.asked == []


def test_too_large_a_file_is_told_with_what_to_do(bench: Bench) -> None:
    with far_end(ok(b"x" * 1001)) as far:
        run(bench, spec_of(far.url))
        error = bench.events()[-1]["error"]
        assert error["code"] == "url_too_large" and error["hint"]


def test_a_cancelled_job_stops_fetching(bench: Bench) -> None:
    def hang(head: bytes, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        time.sleep(20)

    with far_end(hang) as far:
        spec = bench.queue(spec_of(far.url))
        thread = bench.start(replace(bench.host(), policy=policy()), spec)
        until(lambda: far.asked, "the request")
        bench.client.set(names.cancel_key(JOB), "1")
        thread.join(8)
        assert not thread.is_alive() and bench.types()[-1] == "cancelled"
