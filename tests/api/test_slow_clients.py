"""Clients that take their time, or say too much: the web process hangs up on them, and on nobody else."""

import socket
import time

import pytest

from slipway.web import Connection
from tests.api.test_body_limit import Wire
from tests.cast import Cast, make_token


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, web_server: str) -> Wire:
    for name, value in (("headers_s", 1.0), ("stride_s", 1.0), ("stride_bytes", 1000)):
        monkeypatch.setattr(Connection, name, value)
    return Wire(web_server)


def ends(wire: Wire) -> bytes:
    """What the server still says before it closes."""
    said = b""
    try:
        while piece := wire.socket.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_headers_that_do_not_come_are_not_waited_for(wire: Wire, said: bytes) -> None:
    wire.socket.sendall(said)
    assert ends(wire) == b""


def test_headers_byte_by_byte_are_not_waited_for(wire: Wire) -> None:
    begun = time.monotonic()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for byte in b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 1000:
            wire.socket.sendall(bytes([byte]))
            time.sleep(0.02)
    assert time.monotonic() - begun < 15, "before all of them had come"


def test_a_body_that_stops_is_not_waited_for(wire: Wire, cast: Cast) -> None:
    token = f"Authorization: Bearer {make_token(cast.bob)}"
    wire.begin("POST", "/api/v1/projects", token, "Content-Type: application/json", "Content-Length: 100")
    wire.socket.sendall(b"{")
    assert ends(wire) == b""


def test_a_body_that_gets_on_may_take_its_time(wire: Wire, cast: Cast) -> None:
    token = f"Authorization: Bearer {make_token(cast.bob)}"
    body = b'{"name": "x"' + b" " * 12_000 + b"}"
    length = f"Content-Length: {len(body)}"
    wire.begin("POST", "/api/v1/projects", token, "Content-Type: application/json", "Connection: close", length)
    for start in range(0, len(body), 800):
        wire.socket.sendall(body[start : start + 800])
        time.sleep(0.15)  # longer in all than a stride
    assert ends(wire).startswith(b"HTTP/1.1 201 ")


def test_headers_without_end_are_refused(wire: Wire) -> None:
    wire.socket.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
    said = b""
    with pytest.raises((BrokenPipeError, ConnectionResetError, TimeoutError)):
        for _ in range(200):
            wire.socket.sendall(b"X-Long: " + b"x" * 8000 + b"\r\n")
            wire.socket.settimeout(0.02)
            try:
                said += wire.socket.recv(65536)
            except TimeoutError:
                continue
            if said:
                raise ConnectionResetError
    assert said.startswith(b"HTTP/1.1 400 ")


def test_requests_follow_each_other_on_one_connection(wire: Wire) -> None:
    for _ in range(3):
        wire.begin("GET", "/healthz")
        answer = b""
        while b'"live"' not in answer:
            answer += wire.socket.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        time.sleep(0.6)  # in all longer than headers may take


def test_who_reads_nothing_of_a_long_answer_is_hung_up_on(wire: Wire) -> None:
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    begun = time.monotonic()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while time.monotonic() - begun < 15:
            wire.begin("GET", "/api/v1/schema")
            time.sleep(0.05)
