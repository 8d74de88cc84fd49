"""Requests whose head came before, byte for byte: looked up instead of read, and answered as if they were read."""

import json
import socket
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.conftest import Stage
from tests.serving.running import until
from workers.contracts import keys
from workers.serving.heads import Heads

Answer = tuple[int, dict[str, Any]]


class Wire:
    """One connection, on which bytes are sent as a test likes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._answers = self.socket.makefile("rb")

    def answer(self) -> Answer:
        """The next answer: its status and its JSON."""
        status = int(self._answers.readline().split()[1])
        if status == 100:
            assert self._answers.readline() == b"\r\n"
            return self.answer()
        length = 0
        while (line := self._answers.readline()) != b"\r\n":
            if line.startswith(b"content-length:"):
                length = int(line.split()[1])
        return status, json.loads(self._answers.read(length) or b"null")

    def gone(self) -> bool:
        """Whether the server hangs up and says no more."""
        try:
            return self._answers.read(1) == b""
        except ConnectionResetError:  # it had not read all
            return True

    def ask(self, request: bytes) -> Answer:
        """Send a request in one piece; its answer."""
        self.socket.sendall(request)
        return self.answer()


@pytest.fixture
def wire(stage: Stage) -> Iterator[Wire]:
    """A fresh connection."""
    opened = Wire(stage.serving.port)
    yield opened
    opened.socket.close()


def request(key: str, text: str, more: str = "") -> bytes:
    """A prediction for one text; every text of one length has the same head."""
    body = json.dumps({"inputs": [text]})
    head = "POST /v1/endpoints/reviews/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Authorization: Bearer {key}\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def label(answer: Answer) -> str:
    """Of the one prediction of a 200."""
    status, body = answer
    assert status == 200, body
    (prediction,) = body["predictions"]
    return str(prediction["label"])


TEXTS = ["good", "bad ", "bad ", "good"]
LABELS = ["positive", "negative", "negative", "positive"]


def test_bodies_under_one_head_get_their_own_answers_and_records(stage: Stage, wire: Wire) -> None:
    answers = [wire.ask(request(stage.key, text)) for text in TEXTS]
    assert [label(answer) for answer in answers] == LABELS
    ids = {answer[1]["request_id"] for answer in answers}
    assert len(ids) == 4
    assert sum(record["request_id"] in ids for record in stage.control.records()) == 4


def test_however_the_bytes_come_the_answers_are_the_same(stage: Stage, wire: Wire) -> None:
    asked = [request(stage.key, text) for text in TEXTS]
    assert label(wire.ask(asked[0])) == "positive"
    # Two at once, one and a half, a rest; and one byte after the other.
    wire.socket.sendall(asked[0] + asked[1])
    assert [label(wire.answer()) for _ in range(2)] == ["positive", "negative"]
    wire.socket.sendall(asked[1] + asked[0][:70])
    assert label(wire.answer()) == "negative"
    assert label(wire.ask(asked[0][70:])) == "positive"
    end = asked[1].index(b"\r\n\r\n") + 4
    wire.socket.sendall(asked[1][:end])
    assert label(wire.ask(asked[1][end:])) == "negative"
    for place in range(len(asked[0])):
        wire.socket.sendall(asked[0][place : place + 1])
    assert label(wire.answer()) == "positive"
    # More than the head says is the beginning of the next.
    assert label(wire.ask(asked[1] + b"\r\n")) == "negative"
    assert wire.ask(asked[0] + b"nonsense\r\n\r\n")[0] == 200
    assert wire.answer()[0] == 400


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(st.sampled_from(range(len(TEXTS))), min_size=1, max_size=12),
    places=st.lists(st.integers(0, 5000), max_size=8),
    waits=st.lists(st.integers(0, 12), max_size=4),
)
def test_known_heads_in_any_pieces_get_the_answers_of_their_bodies(
    stage: Stage, wire: Wire, asked: list[int], places: list[int], waits: list[int]
) -> None:
    stream = b"".join(request(stage.key, TEXTS[number]) for number in asked)
    size = len(stream) // len(asked)
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    answered = 0
    for at, (start, end) in enumerate(pairwise(bounds)):
        wire.socket.sendall(stream[start:end])
        # Some pieces come when all before them is answered, others when the server gets to them.
        for _ in range(end // size - answered if at in waits else 0):
            assert label(wire.answer()) == LABELS[asked[answered]]
            answered += 1
    assert [label(wire.answer()) for _ in asked[answered:]] == [LABELS[number] for number in asked[answered:]]


def test_what_is_like_a_known_head_is_not_taken_for_it(stage: Stage, wire: Wire) -> None:
    plain = request(stage.key, "good")
    head, _, body = plain.partition(b"\r\n\r\n")
    for _ in range(3):
        assert label(wire.ask(plain)) == "positive"
    other_key = stage.key[:-1] + ("a" if stage.key[-1] != "a" else "b")
    assert wire.ask(request(other_key, "good"))[0] == 401
    assert wire.ask(plain.replace(b"Host: localhost", b"Host: elsewhere"))[0] == 400
    wire = Wire(stage.serving.port)  # who calls us by another name is hung up on
    assert wire.ask(plain.replace(b"/reviews/", b"/reviewz/"))[0] == 404
    # Longer than the longest text that is known, by nothing but its body's length.
    assert label(wire.ask(request(stage.key, "bad bad"))) == "negative"
    chunks = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked") + b"\r\n\r\n"
    chunks += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for _ in range(2):
        assert label(wire.ask(chunks)) == "positive"
        assert label(wire.ask(plain)) == "positive"
        assert label(wire.ask(request(stage.key, "bad ", "Expect: 100-continue\r\n"))) == "negative"
    # Two lengths, and lines that some read as one and others as two, are how requests are smuggled: refused, and
    # nothing after them is read.
    length = f"Content-Length: {len(body)}\r\n"
    for more in ("Transfer-Encoding: chunked\r\n", length, "Content-Length: 0\r\n", "X-Folded: one\r\n two\r\n"):
        smuggling = Wire(stage.serving.port)
        assert label(smuggling.ask(plain)) == "positive"
        assert smuggling.ask(request(stage.key, "good", more) + plain)[0] == 400
        assert smuggling.gone()


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_client_that_offers_another_protocol_is_answered_in_this_one(stage: Stage, protocol: str) -> None:
    """Java's client offers HTTP/2 with every request that is not encrypted."""
    offer = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    asked = request(stage.key, "bad ", offer)
    head, _, body = asked.partition(b"\r\n\r\n")
    chunks = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    chunks += b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for sent in (asked, chunks, asked + asked):
        for cuts in ([], [len(head) + 4], [20, len(sent) - 3], list(range(1, len(sent), 40))):
            wire = Wire(stage.serving.port)
            wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start, end in pairwise([0, *cuts, len(sent)]):
                wire.socket.sendall(sent[start:end])
            assert label(wire.answer()) == "negative"
            assert wire.gone()
    looking = Wire(stage.serving.port)
    looking.socket.sendall(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{offer}\r\n".encode())
    assert looking.answer() == (200, {"live": True})
    assert looking.gone()


def test_a_limit_that_is_new_holds_under_a_known_head(stage: Stage, wire: Wire) -> None:
    control = stage.control
    key = control.add_key()
    control.publish()
    until(lambda: wire.ask(request(key, "good"))[0] == 200)
    assert [wire.ask(request(key, "good"))[0] for _ in range(5)] == [200] * 5
    entry = control.keys[keys.digest(key)]
    control.keys[keys.digest(key)] = entry.model_copy(update={"rate_limit": 0.01})
    control.publish()
    until(lambda: wire.ask(request(key, "good"))[0] == 429)
    assert wire.ask(request(key, "good"))[0] == 429
    control.keys[keys.digest(key)] = entry
    control.publish()
    until(lambda: wire.ask(request(key, "good"))[0] == 200)


def test_a_key_that_is_revoked_or_has_run_out_opens_nothing_under_a_known_head(stage: Stage, wire: Wire) -> None:
    control = stage.control
    revoked, expiring = control.add_key(), control.add_key()
    control.publish()
    for key in (revoked, expiring):
        assert [wire.ask(request(key, "good"))[0] for _ in range(3)] == [200] * 3
    del control.keys[keys.digest(revoked)]
    entry = control.keys[keys.digest(expiring)]
    control.keys[keys.digest(expiring)] = entry.model_copy(update={"expires": control.version / 1000 + 3})
    control.publish()
    until(lambda: wire.ask(request(revoked, "good"))[0] == 401)
    assert wire.ask(request(expiring, "good"))[0] == 200
    until(lambda: wire.ask(request(expiring, "good"))[0] == 401)


def test_a_head_that_asks_to_close_is_answered_and_closed(stage: Stage) -> None:
    for _ in range(2):
        closing = Wire(stage.serving.port)
        assert label(closing.ask(request(stage.key, "good", "Connection: close\r\n"))) == "positive"
        assert closing.socket.recv(1) == b""


def test_only_plain_heads_are_kept_and_not_without_bound() -> None:
    def keep(heads: Heads, data: bytes, body: bytes, **headers: str) -> bool:
        named = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        return heads.keep(data + body, "POST", "/", named, body) is not None

    heads, head = Heads(), b"POST / HTTP/1.1\r\n%d: 0\r\n\r\n"
    assert keep(heads, head % 0, b"1234", content_length="4")
    assert not keep(heads, head % 1, b"1234")
    assert not keep(heads, head % 1, b"1234", content_length="5")
    assert not keep(heads, head % 1, b"1234", content_length="4", transfer_encoding="chunked")
    assert not keep(heads, head % 1, b"1234", content_length="4", expect="100-continue")
    assert not keep(heads, head % 1 + b"12", b"34", content_length="2")
    assert not keep(heads, b"x" * 3000 + b"\r\n\r\n", b"1234", content_length="4")
    for number in range(2000):
        keep(heads, head % number, b"1234", content_length="4")
    assert heads.get(head % 1999) is not None
    assert sum(heads.get(head % number) is not None for number in range(2000)) <= 512
