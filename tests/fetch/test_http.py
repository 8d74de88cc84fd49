"""Fetching from a far end that means no good."""

import contextlib
import gzip
import ipaddress
import resource
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fetch.far import INSIDE, OUTSIDE, Answer, far_end, ok, policy, redirect
from workers.contracts.errors import UserError
from workers.fetch import http
from workers.fetch.http import Bounds

QUICK = Bounds(connect=2, header=0.5, silence=0.5, total=5, slow_after=0.3, slow=5000)


def fetch(url: str, max_bytes: int = 1_000_000, **options: Any) -> bytes:
    kept = bytearray()
    allowed = policy()
    given_up = options.pop("given_up", threading.Event())
    http.fetch(allowed.target(url), kept.extend, policy=allowed, max_bytes=max_bytes, given_up=given_up, **options)
    return bytes(kept)


def code_of(url: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        fetch(url, **options)
    return caught.value.code


def test_a_file_is_fetched_as_it_lies_there() -> None:
    body = gzip.compress(b"text,label\n")
    with far_end(ok(body, "Content-Encoding: gzip")) as far:
        seen: list[tuple[int, int | None]] = []
        assert fetch(f"{far.url}/a.csv?b=1", progress=lambda read, size: seen.append((read, size))) == body
        (head,) = far.asked
        assert head.startswith(b"GET /a.csv?b=1 HTTP/1.1\r\n")
        assert f"Host: 127.0.0.2:{far.port}\r\n".encode() in head and b"Accept-Encoding: identity" in head
        assert b"Authorization" not in head and b"Cookie" not in head
        assert seen[-1] == (len(body), len(body))


def test_a_name_is_looked_up_once_and_all_of_its_addresses_are_checked() -> None:
    answers = [[OUTSIDE], [INSIDE]]
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    with far_end(ok(b"fine")) as far, far_end(ok(b"secret"), INSIDE) as canary:
        assert fetch(f"http://rebinding.test:{far.port}/", resolve=resolve) == b"fine"
        assert asked == ["rebinding.test"]
        assert code_of(f"http://rebinding.test:{canary.port}/", resolve=resolve) == "url_not_allowed"
        both = code_of(f"http://rebinding.test:{far.port}/", resolve=lambda host, port: [OUTSIDE, INSIDE])
        assert both == "url_not_allowed"
        assert canary.asked == [] and len(far.asked) == 1
        assert b"Host: rebinding.test:" in far.asked[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_inside(status: int) -> None:
    with far_end(ok(b"secret"), INSIDE) as canary:
        for place in (canary.url, f"//{INSIDE}:{canary.port}/", f"http://x@{INSIDE}:{canary.port}/"):
            with far_end(redirect(place, status)) as far:
                assert code_of(far.url) == "url_not_allowed"
        for place in ("file:///etc/passwd", "s3://bucket/key", "http://0x7f.3/"):
            with far_end(redirect(place, status)) as far:
                assert code_of(far.url) == "url_not_allowed"
        assert canary.asked == []


def test_redirects_outside_are_followed_a_few_times() -> None:
    def lead(head: bytes, connection: socket.socket) -> None:
        left = int(head.split()[1].strip(b"/"))
        (redirect(f"/{left - 1}") if left else ok(b"here"))(head, connection)

    with far_end(lead) as far:
        assert fetch(f"{far.url}/{http.MAX_HOPS}") == b"here"
        assert code_of(f"{far.url}/{http.MAX_HOPS + 1}") == "url_not_allowed"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with far_end(ok(b"proxied"), INSIDE) as canary, far_end(ok(b"direct")) as far:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, canary.url)
        assert fetch(far.url) == b"direct"
        assert canary.asked == []


def say(*pieces: bytes, every: float = 0.0, times: int = 1) -> Answer:
    def answer(head: bytes, connection: socket.socket) -> None:
        for _ in range(times):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(every)

    return answer


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (say(HEAD + b"\r\n", *[b"x" * 65536] * 40), "url_too_large"),
        (say(HEAD + b"Content-Length: 99999999999\r\n\r\n"), "url_too_large"),
        (
            say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 40),
            "url_too_large",
        ),
        (say(HEAD + b"Content-Length: 5000\r\n\r\n", *[b"x"] * 60, every=0.05), "url_timeout"),
        (say(*[bytes([one]) for one in HEAD], every=0.1), "url_timeout"),
        (say(b"HTTP/1.1 100 Continue\r\n\r\n", every=0.01, times=300), "url_timeout"),
        (say(HEAD + b"Content-Length: 10\r\n\r\n123"), "url_unreachable"),
        (say(CHUNKED + b"5\r\nab"), "url_unreachable"),
        (say(HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 900) for n in range(200)) + b"\r\n"), "url_unreachable"),
        (say(HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n"), "url_unreachable"),
        (say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nlost"), "url_unreachable"),
        (say(b"HTTP/1.1 302 Found\r\n\r\n"), "url_unreachable"),
        (say(b"SSH-2.0-OpenSSH_9.6\r\n"), "url_unreachable"),
        (say(b""), "url_unreachable"),
    ],
)
def test_a_far_end_that_misbehaves_costs_little_and_is_told(answer: Answer, code: str) -> None:
    with far_end(answer) as far:
        assert code_of(far.url, bounds=QUICK) == code


def test_a_body_longer_than_announced_is_cut_there() -> None:
    with far_end(say(HEAD + b"Content-Length: 10\r\n\r\n", *[b"x" * 65536] * 100)) as far:
        assert fetch(far.url) == b"x" * 10


def test_a_tls_handshake_that_never_ends_is_given_up() -> None:
    with far_end(say(b"\x16", every=3)) as far:
        assert code_of(far.url.replace("http:", "https:"), bounds=QUICK) == "url_timeout"


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with socket.create_server((OUTSIDE, 0)) as listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own_certificate(tmp_path / "own.pem", OUTSIDE))
        sent: list[bytes] = []

        def serve() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as secure:
                sent.append(secure.recv(1000))

        threading.Thread(target=serve, daemon=True).start()
        assert code_of(f"https://{OUTSIDE}:{listener.getsockname()[1]}/", bounds=QUICK) == "url_unreachable"
        assert sent in ([], [b""]), "nothing was asked of it"


def own_certificate(path: Path, host: str) -> Path:
    """A key and a certificate for a host that it signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "own")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    private = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(form))
    return path


def test_what_nobody_wants_any_more_ends_at_once() -> None:
    given_up = threading.Event()
    with far_end(say(HEAD + b"Content-Length: 100\r\n\r\n", every=20)) as far:
        threading.Timer(0.3, given_up.set).start()
        begun = time.monotonic()
        assert code_of(far.url, given_up=given_up) == "url_timeout"
        assert time.monotonic() - begun < 15, "no bound of the connection's own is as short as this"


def test_memory_stays_bounded() -> None:
    size = 300 << 20
    with far_end(say(HEAD + b"Content-Length: %d\r\n\r\n" % size, *[b"x" * (1 << 20)] * 300)) as far:
        allowed, read = policy(), [0]

        def count(chunk: bytes) -> None:
            read[0] += len(chunk)

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        http.fetch(allowed.target(far.url), count, policy=allowed, max_bytes=1 << 30, given_up=threading.Event())
        assert read[0] == size
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
