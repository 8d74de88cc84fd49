"""Inputs that a user named an address of are fetched by the runner, before the job's own process starts."""

import socket
import threading
import time
from dataclasses import replace

from tests.fetch.far import INSIDE, far_end, ok, policy, redirect
from tests.runner.bench import JOB, SOURCE, Bench, make_spec, until
from workers.contracts import names
from workers.contracts.fetching import FetchSpec, FetchState
from workers.contracts.job import InputFile, JobSpec
from workers.fetch.policy import Policy
from workers.runner.fetching import fetch_upload
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


UPLOAD = KEY.rpartition("/")[2]


def ask(bench: Bench, url: str) -> str:
    """What the control plane leaves in Redis, and the message that it sends."""
    state = FetchState(state="waiting", time=time.time())
    bench.client.set(names.fetch_key(UPLOAD), state.model_dump_json())
    return FetchSpec(upload=UPLOAD, key=KEY, url=url, max_bytes=1000).model_dump_json()


def told(bench: Bench) -> FetchState:
    return FetchState.model_validate_json(bench.client.get(names.fetch_key(UPLOAD)) or "")


def test_a_file_is_fetched_before_anything_is_imported(bench: Bench) -> None:
    host = replace(bench.host(), policy=policy())
    with far_end(ok(b"text,label\n")) as far:
        fetch_upload(host, ask(bench, far.url))
    assert bench.storage.read_bytes(KEY) == b"text,label\n"
    assert (told(bench).state, told(bench).read) == ("done", 11)
    assert not list((host.home / "jobs").iterdir())


def test_what_is_not_asked_for_any_more_is_not_fetched(bench: Bench) -> None:
    with far_end(ok(b"text,label\n")) as far:
        message = ask(bench, far.url)
        bench.client.delete(names.fetch_key(UPLOAD))
        fetch_upload(replace(bench.host(), policy=policy()), message)
        assert far.asked == [] and not bench.storage.exists(KEY)
        assert not bench.client.exists(names.fetch_key(UPLOAD))


def test_why_a_file_is_not_fetched_is_told(bench: Bench) -> None:
    host = replace(bench.host(), policy=policy())
    with far_end(ok(b"secret"), INSIDE) as canary, far_end(redirect(canary.url)) as far:
        fetch_upload(host, ask(bench, far.url))
        error = told(bench).error
        assert error and error.code == "url_not_allowed" and canary.asked == []
    with far_end(ok(b"x" * 1001)) as far:
        fetch_upload(host, ask(bench, far.url))
        error = told(bench).error
        assert error and error.code == "url_too_large" and not bench.storage.exists(KEY)


def test_fetching_stops_when_nobody_waits_and_when_the_runner_stops(bench: Bench) -> None:
    def hang(head: bytes, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        time.sleep(20)

    for stops in (False, True):
        host = replace(bench.host(), policy=policy(), stopping=threading.Event())
        with far_end(hang) as far:
            thread = threading.Thread(target=fetch_upload, args=(host, ask(bench, far.url)))
            thread.start()
            until(lambda far=far: far.asked, "the request")
            if stops:
                host.stopping.set()
            else:
                bench.client.delete(names.fetch_key(UPLOAD))
            thread.join(8)
            assert not thread.is_alive() and not bench.storage.exists(KEY)
    assert told(bench).state == "failed"
