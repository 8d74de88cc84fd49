"""Both ports of the running product, as somebody finds them who scans for what others had open."""

import re
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.stack import Stack

PORTS = ("url", "predict_url")


def exchange(url: str, sent: bytes) -> bytes:
    """All that a server answers until it closes, or says nothing for a second."""
    parts = urlsplit(url)
    said = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5) as wire:
        wire.sendall(sent.replace(b"HOST", parts.netloc.encode()))
        wire.settimeout(1)
        try:
            while piece := wire.recv(65536):
                said += piece
        except (TimeoutError, ConnectionResetError):
            pass
    return said


def status_of(answer: bytes) -> int:
    return int(answer.split()[1])


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    "path",
    [
        *("/static/..%2f..%2fmanage.py", "/static/%2e%2e/manage.py", "/static/../../manage.py", "/static/%00"),
        *("/static/....//manage.py", "/static/..%5c..%5cmanage.py", "/static/css/../../../manage.py", "/media/x"),
        *("/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/static/%252e%252e/manage.py", "/.git/config", "/.env"),
        *("/_proxy/http://127.0.0.1/", "/proxy=http://127.0.0.1/", "/file=/etc/passwd", "/admin/", "/debug"),
        *("/v2/systemsharedmemory/status", "/v2/cudasharedmemory/region/x/register", "/v2/repository/index"),
        *("/v2/logging", "/v2/trace/setting", "/v2/models/x/trace/setting", "/api/2.0/mlflow/experiments/list"),
    ],
)
def test_what_others_had_open_is_not_there(stack: Stack, port: str, path: str) -> None:
    for method in ("GET", "POST"):
        head = f"{method} {path} HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        answer = exchange(getattr(stack, port), head.encode())
        # 403: a page's CSRF check comes before its address is looked at.
        assert status_of(answer) in ((404,) if method == "GET" else (404, 403, 405)), answer[:200]
        assert b"nosniff" in answer.lower() and b"Traceback" not in answer and b"root:" not in answer


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n"
CHUNKED = b"0\r\n\r\n"


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKED),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
        (b"Transfer-Encoding: xchunked\r\n", CHUNKED),
        (b"Transfer-Encoding: chunked\r\n", b"0x1\r\na\r\n0\r\n\r\n"),
        (b"Content-Length: 0\r\nContent-Length: 5\r\n", b""),
        (b"Content-Length: 0, 5\r\n", b""),
        (b"Content-Length : 0\r\n", b""),
        (b"Content-Length: -5\r\n", b""),
        (b"Content-Length: +5\r\n", b""),
        (b"X: a\r\n b\r\nContent-Length: 0\r\n", b""),
        (b"X: a\rContent-Length: 5\r\n", b""),
        (b"X: a\0b\r\nContent-Length: 0\r\n", b""),
        (b"X: a\nContent-Length: 0\r\n", b""),
    ],
)
def test_a_request_that_can_be_read_two_ways_ends_the_connection(
    stack: Stack, port: str, lines: bytes, body: bytes
) -> None:
    head = b"POST /v1/endpoints/x/predict HTTP/1.1\r\nHost: HOST\r\n"
    answer = exchange(getattr(stack, port), head + lines + b"\r\n" + body + SMUGGLED)
    assert status_of(answer) == 400 and answer.count(b"HTTP/1.1 ") == 1 and b"live" not in answer


@pytest.mark.parametrize("port", PORTS)
def test_other_hosts_are_not_ours_whatever_the_path(stack: Stack, port: str) -> None:
    for path in ("/", "/healthz", "/api/v1/me", "/v2/health/live", "/static/css/base.css", "/nothing"):
        for host in ("evil.test", "127.0.0.1.evil.test", "localhost.evil.test"):
            answer = exchange(
                getattr(stack, port), f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            assert status_of(answer) == 400, (path, host)


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("origin", ["null", "https://evil.test", "http://127.0.0.1"])
def test_no_page_of_another_origin_may_read_anything(stack: Stack, port: str, origin: str) -> None:
    headers = {"Origin": origin, "Authorization": f"Bearer {stack.token}", "Cookie": "a=b"}
    with httpx.Client(base_url=getattr(stack, port), trust_env=False, headers=headers) as client:
        for path in ("/api/v1/me", "/", "/healthz", "/v1/endpoints/x"):
            assert not [name for name in client.get(path).headers if name.startswith("access-control")]
            asked = client.options(path, headers={"Access-Control-Request-Method": "DELETE"})
            assert not [name for name in asked.headers if name.startswith("access-control")]


PLACES = [
    *("//evil.test", "///evil.test", "https:evil.test", "/\\evil.test", "/%09/evil.test", "http:///evil.test"),
    *("https://127.0.0.1@evil.test", "/\tevil.test//", "https://evil.test", "javascript:alert(1)", "\\\\evil.test"),
]


def test_signing_in_leads_nowhere_else(stack: Stack) -> None:
    for place in PLACES:
        with httpx.Client(base_url=stack.url, trust_env=False, headers={"Referer": stack.url}) as client:
            found = re.search(r'csrfmiddlewaretoken" value="([^"]+)', client.get("/accounts/login/").text)
            assert found
            form = {"login": stack.email, "password": stack.password, "next": place, "csrfmiddlewaretoken": found[1]}
            reply = client.post("/accounts/login/", data=form)
            assert reply.status_code == 302, reply.text
            assert re.fullmatch(r"/(?![/\\]).*", reply.headers["Location"]), place
            assert urlsplit(reply.headers["Location"]).netloc == ""
