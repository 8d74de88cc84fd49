"""Bodies are refused before they are read, whatever they say of their length."""

import asyncio
import json
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client

from apps.core.body_limit import Message, Receive, Scope, Send, bounded
from apps.datasets.uploads import begin_upload
from tests.cast import Cast, make_token

MEGABYTE = b"x" * (1 << 20)


class Wire:
    """A connection on which a test says exactly what it wants."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)

    def begin(self, method: str, path: str, *headers: str) -> None:
        head = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *headers, "", ""]
        self.socket.sendall("\r\n".join(head).encode())

    def answer(self) -> tuple[int, dict[str, object]]:
        """Status and JSON body; the server has closed the connection after them."""
        received = b""
        while chunk := self.socket.recv(65536):
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        assert re.search(rb"(?i)x-request-id: \S+", head)
        assert b"nosniff" in head.lower()
        return int(head.split()[1]), json.loads(body)


@pytest.fixture
def wire(web_server: str) -> Wire:
    return Wire(web_server)


def test_a_length_over_the_limit_is_refused_without_a_byte_of_it(wire: Wire, cast: Cast) -> None:
    token = f"Authorization: Bearer {make_token(cast.bob)}"
    wire.begin("POST", "/api/v1/projects", token, "Content-Type: application/json", "Content-Length: 10000000000")
    status, body = wire.answer()
    assert (status, body["error"]["code"]) == (413, "payload_too_large")  # type: ignore[index]


def test_an_upload_over_the_limit_is_refused_without_a_byte_of_it(wire: Wire) -> None:
    wire.begin(
        "POST", "/api/v1/datasets", "Content-Type: multipart/form-data; boundary=b", f"Content-Length: {6 << 30}"
    )
    assert wire.answer()[0] == 413


def test_a_body_without_a_length_is_cut_off_at_the_limit(wire: Wire) -> None:
    wire.begin("POST", "/api/v1/projects", "Content-Type: application/json", "Transfer-Encoding: chunked")
    sent, deadline = 0, time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            wire.socket.sendall(b"%x\r\n%s\r\n" % (len(MEGABYTE), MEGABYTE))
            sent += len(MEGABYTE)
    except (BrokenPipeError, ConnectionResetError):
        pass
    # The limit of 6 MB, and what the kernel holds on both sides.
    assert 6 << 20 <= sent < 40 << 20


def test_a_small_body_passes(wire: Wire, cast: Cast) -> None:
    body = json.dumps({"name": "Small"}).encode()
    wire.begin(
        "POST",
        "/api/v1/projects",
        f"Authorization: Bearer {make_token(cast.bob)}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    wire.socket.sendall(body)
    assert wire.answer()[0] == 201


def test_what_came_before_a_connection_broke_is_kept(wire: Wire, cast: Cast, tmp_path: Path) -> None:
    size, sent = 50 << 20, 20 << 20
    upload = begin_upload(actor=cast.bob, team=cast.ours.team, filename="big.bin", size=size)
    wire.begin(
        "PATCH",
        f"/api/v1/uploads/{upload.pk}",
        f"Authorization: Bearer {make_token(cast.bob)}",
        "Tus-Resumable: 1.0.0",
        "Upload-Offset: 0",
        "Content-Type: application/offset+octet-stream",
        f"Content-Length: {size}",
    )
    wire.socket.sendall(MEGABYTE * (sent >> 20))
    wire.socket.close()
    deadline = time.monotonic() + 20
    while upload.offset < sent and time.monotonic() < deadline:
        time.sleep(0.05)
        upload.refresh_from_db()
    assert upload.offset == sent
    assert (tmp_path / "uploads" / upload.pk).stat().st_size == sent


@pytest.mark.parametrize(
    "credentials", ["Authorization: Bearer swt_unknown", "Cookie: sessionid=unknown", "X-Nothing: 1"]
)
def test_a_large_body_of_nobody_is_not_read(wire: Wire, credentials: str) -> None:
    kind = "Content-Type: multipart/form-data; boundary=b"
    wire.begin("POST", "/api/v1/datasets", credentials, kind, f"Content-Length: {1 << 30}", "Connection: close")
    status, body = wire.answer()
    assert (status, body["error"]["code"]) == (401, "not_authenticated")  # type: ignore[index]


def test_a_session_is_known_before_its_body_is_read(wire: Wire, cast: Cast) -> None:
    browser = Client()
    browser.force_login(cast.bob)
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    cookie, kind = f"Cookie: {settings.SESSION_COOKIE_NAME}={session}", "Content-Type: multipart/form-data; boundary=b"
    wire.begin("POST", "/api/v1/datasets", cookie, kind, "Content-Length: 5", "Connection: close")
    wire.socket.sendall(b"--b--")
    status, body = wire.answer()
    assert (status, body["error"]["code"]) == (403, "csrf_failed")  # type: ignore[index]


def test_an_answer_that_breaks_off_is_not_begun_again() -> None:
    sent: list[Message] = []

    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError("the file cannot be read on")

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/v1/projects", "headers": []}
    with pytest.raises(OSError, match="cannot be read on"):
        asyncio.run(bounded(breaks)(scope, receive, send))
    assert len(sent) == 1
