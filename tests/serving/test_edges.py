"""Clients that leave, crawl, lie about lengths, or come all at once."""

import base64
import json
import socket
import struct
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.serving import bundles
from tests.serving.clients import asking
from tests.serving.conftest import Stage
from tests.serving.running import serving, until
from tests.serving.test_statuses import PREDICT


def exchange(port: int, sent: bytes, *, timeout: float = 5) -> bytes:
    """Everything that the server answers until it closes, or until it is silent for the timeout."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.sendall(sent)
        try:
            while piece := client.recv(65_536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass  # it closed over bytes that it had not read: what came before counts
    return answer


def head(stage: Stage, *lines: str) -> bytes:
    """The head of a predict request with these lines more."""
    first = [f"POST {PREDICT} HTTP/1.1", f"Host: 127.0.0.1:{stage.serving.port}", f"Authorization: Bearer {stage.key}"]
    return ("\r\n".join([*first, "Content-Type: application/json", *lines]) + "\r\n\r\n").encode()


BODY = b'{"inputs": ["good"]}'
CHUNKED = b"14\r\n" + BODY + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 20", "Transfer-Encoding: chunked"], CHUNKED),
        (["Content-Length: 20", "Content-Length: 21"], BODY),
        (["Transfer-Encoding: xchunked"], CHUNKED),
        (["Content-Length: -5"], BODY),
        (["Content-Length: +5"], BODY),
        (["Content-Length: 1e3"], BODY),
        (["Content-Length : 20"], BODY),
        (["Transfer-Encoding: chunked"], b"0x14\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (["X: a\x00b", "Content-Length: 20"], BODY),
    ],
)
def test_framing_that_can_be_read_two_ways_is_refused_and_the_connection_closed(
    stage: Stage, lines: list[str], body: bytes
) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = exchange(stage.serving.port, head(stage, *lines) + body + smuggled, timeout=2)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b'"code":"bad_request"' in answer and b"nosniff" in answer
    assert answer.count(b"HTTP/1.1") == 1 and b'"live"' not in answer


@pytest.mark.parametrize("header", ["X-Long: " + "a" * 40_000, "\r\n".join(f"X-{n}: a" for n in range(20_000))])
def test_headers_are_bounded(stage: Stage, header: str) -> None:
    assert b" 400 " in exchange(stage.serving.port, head(stage, header, "Content-Length: 20")[:200_000], timeout=3)[:20]
    assert stage.predict(["good"]).status_code == 200


def test_many_headers_are_refused(stage: Stage) -> None:
    reply = stage.client.get("/healthz", headers=[(f"X-{number}", "a") for number in range(120)])
    assert reply.status_code == 400


def test_control_characters_reach_neither_log_nor_answer(stage: Stage) -> None:
    odd = "\u2028%1b[2J%0d%0alevel=INFO"
    reply = stage.client.get(
        "/v1/endpoints/%0a%1b[2J", headers={**stage.auth, "X-Request-Id": "abc\tdef", "User-Agent": odd.encode()}
    )
    assert reply.status_code == 404
    assert reply.headers["x-request-id"] != "abc\tdef"
    for line in stage.serving.log.read_bytes().splitlines():
        json.loads(line)


def test_secrets_are_not_in_the_log(stage: Stage) -> None:
    reply = stage.predict(["good film", ""])
    until(lambda: reply.headers["x-request-id"] in stage.serving.log.read_text())
    log = stage.serving.log.read_text()
    assert stage.key not in log and stage.key.rpartition("_")[2] not in log and "good film" not in log


@pytest.mark.parametrize(("level", "statuses"), [("all", [200, 422, 401]), ("errors", [422, 401]), ("off", [])])
def test_the_access_log_holds_what_was_asked_of_it(
    own_stage: Stage, redis_server: str, level: str, statuses: list[int]
) -> None:
    home = own_stage.serving.log.parent
    with serving(home, redis_server, SLIPWAY_SERVING_ACCESS_LOG=level) as running:
        with httpx.Client(base_url=running.url, trust_env=False) as client:
            for text, status in (("good", 200), ("", 422)):
                reply = client.post(PREDICT, json={"inputs": [text]}, headers=own_stage.auth)
                assert reply.status_code == status
            # Nobody's: in no ledger, but in the log.
            assert (
                client.post("/v1/endpoints/none/predict", headers={"Authorization": "Bearer none"}).status_code == 401
            )
        assert running.stop() == 0
        lines = [json.loads(line) for line in running.log.read_bytes().splitlines()]
        assert [line["status"] for line in lines if "latency_us" in line] == statuses


def test_slow_clients_are_hung_up_on_and_others_are_served(own_stage: Stage, redis_server: str) -> None:
    home = own_stage.serving.log.parent
    with serving(home, redis_server, SLIPWAY_SERVING_HEADERS_TIMEOUT_MS="500") as running:
        crawlers = [socket.create_connection(("127.0.0.1", running.port), timeout=5) for _ in range(100)]
        for number, crawler in enumerate(crawlers):
            crawler.sendall(b"POST / HTTP/1.1\r\nHost: loc"[: number % 25])
        with asking(running.port, "reviews", own_stage.key, clients=2) as seen:
            closed = [crawler.recv(1) for crawler in crawlers]
            until(lambda: len(seen.answers) > 100)
        assert closed == [b""] * 100
        assert set(seen.statuses()) == {200}
        for crawler in crawlers:
            crawler.close()


def test_a_kept_connection_is_not_hung_up_on_between_requests(own_stage: Stage, redis_server: str) -> None:
    home = own_stage.serving.log.parent
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        serving(home, redis_server, SLIPWAY_SERVING_HEADERS_TIMEOUT_MS="200") as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=5) as client,
    ):
        client.sendall(request)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        quiet = time.monotonic() + 0.6
        until(lambda: time.monotonic() > quiet)
        client.sendall(request)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.fixture(scope="module")
def dear(stage: Stage, bundle_folder: Path) -> str:
    """An endpoint whose model is slow enough to be run in a thread."""
    stage.control.add_route("dear", bundle_folder / "dear.zip", kind="image")
    stage.control.publish()
    until(lambda: stage.client.get("/v2/models/dear/ready", headers=stage.auth).status_code == 200)
    return "dear"


def image_request(stage: Stage, slug: str, count: int) -> bytes:
    """A whole predict request with some images, as bytes."""
    one = {"image": base64.b64encode(bundles.png(255, 0)).decode()}
    body = json.dumps({"inputs": [one] * count}).encode()
    return head(stage, f"Content-Length: {len(body)}").replace(b"/reviews/", f"/{slug}/".encode()) + body


def remaining(stage: Stage, slug: str) -> int:
    """Places in the queue, as an answer tells them."""
    reply = stage.predict([{"image": base64.b64encode(bundles.png(255, 0)).decode()}], slug)
    assert reply.status_code == 200, reply.text
    return int(reply.headers["x-ratelimit-remaining"])


def test_clients_that_leave_give_their_places_back(stage: Stage, dear: str) -> None:
    request, whole = image_request(stage, dear, 16), remaining(stage, dear)
    reset = struct.pack("ii", 1, 0)
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", stage.serving.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            client.sendall(request)
    until(lambda: remaining(stage, dear) == whole)


def test_a_full_queue_is_503_with_retry_after(stage: Stage, dear: str) -> None:
    request, answers = image_request(stage, dear, 32), []

    def ask() -> None:
        answers.append(
            exchange(stage.serving.port, request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), timeout=60)
        )

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted({answer[9:12] for answer in answers})
    assert statuses == [b"200", b"503"]
    refused = next(answer for answer in answers if answer[9:12] == b"503")
    assert b'"code":"overloaded"' in refused and b"retry-after: 1" in refused
    assert remaining(stage, dear) > 900
