"""Clients that crawl, fall silent, send half of a request or far too much: all others are served."""

import contextlib
import gzip
import random
import select
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.serving.clients import Seen, asking
from tests.serving.conftest import staged
from tests.serving.running import Serving, until
from tests.serving.test_metrics import scrape, value
from tests.serving.test_statuses import PREDICT
from workers.contracts.kinds import KINDS

PATIENCE_MS = "700"


@dataclass
class Target:
    """A process with little patience, and the head of a request to it."""

    serving: Serving
    key: str

    def head(self, *lines: str) -> bytes:
        """Of a predict request."""
        first = [f"POST {PREDICT} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.key}"]
        return ("\r\n".join([*first, "Content-Type: application/json", *lines]) + "\r\n\r\n").encode()

    def connect(self) -> socket.socket:
        """A fresh connection."""
        return socket.create_connection(("127.0.0.1", self.serving.port), timeout=10)

    def room(self) -> float:
        """Bytes that the process would still take for bodies."""
        return value(scrape(self.serving.url), "slipway_body_bytes_free")

    @contextlib.contextmanager
    def others_are_served(self) -> Iterator[Seen]:
        """Clients that ask meanwhile get nothing but 200, and get it until the end."""
        with asking(self.serving.port, "reviews", self.key, clients=2) as seen:
            yield seen
            count = len(seen.answers)
            until(lambda: len(seen.answers) > count + 20)
        assert (set(seen.statuses()), seen.broken, seen.wrong) == ({200}, 0, 0)
        assert self.serving.process.poll() is None


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, redis_server: str, bundle_folder: Path) -> Iterator[Target]:
    """A process of this module."""
    patience = {"SLIPWAY_SERVING_HEADERS_TIMEOUT_MS": PATIENCE_MS, "SLIPWAY_SERVING_BODY_TIMEOUT_MS": PATIENCE_MS}
    with staged(tmp_path_factory.mktemp("slow"), redis_server, bundle_folder, **patience) as stage:
        yield Target(stage.serving, stage.key)


def readable(connections: list[socket.socket]) -> int:
    """How many have something to read, or their end. Not by select, which knows only a thousand."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    return len(poll.poll(0))


def crawl(connections: list[socket.socket], sent: bytes) -> list[bytes]:
    """Send byte by byte on all connections until the server has closed each; what each was answered."""
    answers = dict.fromkeys(connections, b"")
    end = time.monotonic() + 20
    with selectors.DefaultSelector() as open_still:
        for connection in connections:
            open_still.register(connection, selectors.EVENT_READ)
        for number in range(len(sent)):
            for key in list(open_still.get_map().values()):
                with contextlib.suppress(OSError):
                    key.fileobj.send(sent[number : number + 1])
            for key, _ in open_still.select(0.02):
                try:
                    piece = key.fileobj.recv(65_536)
                except OSError:
                    piece = b""
                answers[key.fileobj] += piece
                if not piece:
                    open_still.unregister(key.fileobj)
            if not open_still.get_map():
                return list(answers.values())
            assert time.monotonic() < end, f"{len(open_still.get_map())} connections are still open"
    raise AssertionError("there was not enough to send")


def test_headers_that_come_byte_by_byte_are_cut_off(target: Target) -> None:
    with contextlib.ExitStack() as stack, target.others_are_served():
        crawlers = [stack.enter_context(target.connect()) for _ in range(100)]
        assert set(crawl(crawlers, target.head("X-Long: " + "a" * 20_000))) == {b""}


def test_bodies_that_come_byte_by_byte_are_cut_off(target: Target) -> None:
    room = target.room()
    lengths = ("Content-Length: 20000", "Content-Length: 200000", "Transfer-Encoding: chunked")
    with contextlib.ExitStack() as stack, target.others_are_served():
        crawlers = [stack.enter_context(target.connect()) for _ in range(99)]
        for number, crawler in enumerate(crawlers):
            crawler.sendall(target.head(lengths[number % 3]))
        answers = crawl(crawlers, b"1000\r\n" + b"a" * 20_000)
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 400"}
    assert all(b"did not arrive" in answer and b"connection: close" in answer for answer in answers)
    assert target.room() == room


def test_half_sent_bodies_leave_nothing_behind(target: Target) -> None:
    room = target.room()
    left = value(scrape(target.serving.url), "slipway_disconnects_total", endpoint="reviews")
    with target.others_are_served():
        for _ in range(50):
            with target.connect() as client:
                client.sendall(target.head("Content-Length: 100000") + b'{"inputs": ["go')
        until(lambda: value(scrape(target.serving.url), "slipway_disconnects_total", endpoint="reviews") == left + 50)
    assert target.room() == room


def test_bodies_that_never_end_are_refused_at_their_limit(target: Target) -> None:
    # What the system itself holds of a connection is far less than the difference.
    most, room, answers = KINDS["text"].max_body + 64 * 2**20, target.room(), []

    def flood() -> None:
        sent, piece = 0, b"10000\r\n" + b" " * 65_536 + b"\r\n"
        with target.connect() as client:
            client.sendall(target.head("Transfer-Encoding: chunked"))
            answer = b""
            with contextlib.suppress(OSError):
                while sent < most and not readable([client]):
                    client.sendall(piece)
                    sent += 65_536
            with contextlib.suppress(OSError):
                while more := client.recv(65_536):
                    answer += more
            answers.append((sent, answer))

    with target.others_are_served():
        threads = [threading.Thread(target=flood) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with target.connect() as client:  # its length alone is enough
            client.sendall(target.head("Content-Length: 1000000000000"))
            assert client.recv(4096).startswith(b"HTTP/1.1 413")
    assert len(answers) == 8
    assert all(sent < most for sent, _ in answers)
    # A reset may swallow an answer, but most get theirs.
    assert sum(answer.startswith(b"HTTP/1.1 413") for _, answer in answers) >= 4
    until(lambda: target.room() == room)


def test_bodies_of_any_bytes_are_refused_by_name(target: Target) -> None:
    rng = random.Random(0)
    good = b'{"inputs": ["good"]}'
    bodies = [
        b"",
        b"{",
        b"null",
        b"[" * 100_000,
        b'{"inputs": ' + b"[" * 5000,
        b'"\xff\xfe"',
        b'{"inputs": ["\\ud800"]}',
    ]
    bodies += [rng.randbytes(rng.randrange(1, 2000)) for _ in range(50)]
    bodies += [good[:cut] for cut in range(1, len(good))]
    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    with target.others_are_served(), httpx.Client(base_url=target.serving.url, trust_env=False) as client:
        for body in bodies:
            reply = client.post(PREDICT, content=body, headers=headers)
            assert reply.status_code in (400, 422) and reply.json()["error"]["code"] != "internal_error", body[:50]
        for packed in (good, gzip.compress(good)[:-6], gzip.compress(b" " * 50_000_000)):
            reply = client.post(PREDICT, content=packed, headers={**headers, "Content-Encoding": "gzip"})
            assert reply.status_code in (400, 413), reply.text


def test_a_thousand_idle_connections_stay_and_cost_nobody_an_answer(target: Target) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(target.connect()) for _ in range(1000)]
        for connection in idle:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for connection in idle:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        with target.others_are_served():
            assert value(scrape(target.serving.url), "process_open_fds") > 1000
        assert readable(idle) == 0


def test_who_asks_without_reading_the_answers_holds_up_nobody(target: Target) -> None:
    body = b'{"inputs": [' + b", ".join([b'"good"'] * 500) + b"]}"
    request = target.head(f"Content-Length: {len(body)}") + body
    with contextlib.ExitStack() as stack, target.others_are_served():
        for _ in range(20):
            deaf = stack.enter_context(target.connect())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                for _ in range(50):
                    deaf.sendall(request)


def test_beyond_the_most_connections_idle_ones_make_room(
    tmp_path: Path, redis_server: str, bundle_folder: Path
) -> None:
    with (
        staged(tmp_path, redis_server, bundle_folder, SLIPWAY_SERVING_CONNECTIONS="50") as stage,
        contextlib.ExitStack() as stack,
    ):
        crowded = Target(stage.serving, stage.key)
        idle = [stack.enter_context(crowded.connect()) for _ in range(200)]
        until(lambda: readable(idle) >= 150)
        with crowded.others_are_served():
            assert readable(idle) < 160
