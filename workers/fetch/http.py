"""One file by http or https: from the address that was checked and no other, in bounded memory and time.

A name is looked up once per connection, all that it leads to is checked, and the connection goes to one of these very
addresses; what it is connected to is checked again before a byte is sent. Redirects begin again from the start. No
proxy, cookie or credential is used, and the body is kept as it comes: nothing is unpacked here.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import urljoin

from workers.contracts.errors import SlipwayError, UserError
from workers.fetch.policy import Policy, Target, refuse

MAX_HOPS: Final = 5
_MAX_ADDRESSES: Final = 4
_CHUNK: Final = 1 << 18
_REDIRECTS: Final = (301, 302, 303, 307, 308)

Resolve = Callable[[str, int], list[str]]
# Takes the bytes as they come.
Keep = Callable[[bytes], None]
# Told how many bytes have come, of how many, where that is known.
Progress = Callable[[int, int | None], None]


class Bounds(NamedTuple):
    """Seconds to connect, to answer with a header, without a byte, and for all; bytes per second after `slow_after`."""

    connect: float = 10
    header: float = 30
    silence: float = 30
    total: float = 2 * 3600
    slow_after: float = 60
    slow: int = 2000


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def fetch(
    target: Target,
    keep: Keep,
    *,
    policy: Policy,
    max_bytes: int,
    given_up: threading.Event,
    progress: Progress = lambda read, size: None,
    bounds: Bounds = Bounds(),  # noqa: B008 - immutable
    resolve: Resolve = resolve,
) -> None:
    """Hand the file's bytes to `keep`.

    Raises UserError `url_not_allowed`, `url_unreachable`, `url_timeout`, `url_too_large`.
    """
    end = time.monotonic() + bounds.total
    for _ in range(MAX_HOPS + 1):
        with _connection(target, policy, bounds, resolve, given_up, end) as (connection, watch):
            response = _ask(connection, target, watch)
            if response.status not in _REDIRECTS:
                _read(response, keep, max_bytes, progress, bounds, watch)
                return
            target = _next(target, response.getheader("Location"), policy)
    refuse(f"The address leads on more than {MAX_HOPS} times.")


class _Watch:
    """Cuts a connection when its time is over or nobody wants it any more: whatever waits for it then ends."""

    def __init__(self, given_up: threading.Event, end: float) -> None:
        self._end, self._given_up = end, given_up
        self._until = end
        self._socket: socket.socket | None = None
        self._over = threading.Event()
        self.has_cut = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def begin(self, connected: socket.socket, seconds: float) -> None:
        """Look after a socket that has so many seconds for what it does first."""
        self._socket = connected
        self.allow(seconds)
        if not self._thread.is_alive():
            self._thread.start()

    def allow(self, seconds: float) -> None:
        """So many seconds more, but never beyond the end."""
        self._until = min(self._end, time.monotonic() + seconds)

    def _work(self) -> None:
        while not self._over.wait(0.1):
            if time.monotonic() > self._until or self._given_up.is_set():
                self.has_cut = True
                with contextlib.suppress(OSError):
                    # Of the plain socket also under TLS, whose own shutdown is not for two threads.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # type: ignore[arg-type]
                return

    def close(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()


@contextlib.contextmanager
def _connection(
    target: Target, policy: Policy, bounds: Bounds, resolve: Resolve, given_up: threading.Event, end: float
) -> Iterator[tuple[http.client.HTTPConnection, _Watch]]:
    """A connection to one of the checked addresses of the target's host; failures as errors of the catalogue."""
    watch = _Watch(given_up, end)
    connected: socket.socket | None = None
    try:
        connected = _connect(target, policy, bounds, resolve)
        connected.settimeout(bounds.silence)
        kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
        connection = kind(target.host, target.port)
        if target.scheme == "https":
            connected = ssl.create_default_context().wrap_socket(
                connected, server_hostname=target.host, do_handshake_on_connect=False
            )
        watch.begin(connected, bounds.header)
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        connection.sock = connected
        yield connection, watch
    except SlipwayError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        if watch.has_cut or isinstance(error, TimeoutError):
            raise UserError("url_timeout") from error
        if isinstance(error, ssl.SSLCertVerificationError):
            raise UserError("url_unreachable", "The server's certificate is not valid for this address.") from error
        raise UserError("url_unreachable") from error
    finally:
        watch.close()
        if connected is not None:
            connected.close()


def _connect(target: Target, policy: Policy, bounds: Bounds, resolve: Resolve) -> socket.socket:
    found = [ipaddress.ip_address(address) for address in resolve(target.host, target.port)]
    for address in found:
        policy.check(address, target.port)
    failure: OSError = ConnectionError("no address")
    for address in found[:_MAX_ADDRESSES]:
        try:
            connected = socket.create_connection((str(address), target.port), timeout=bounds.connect)
        except OSError as error:
            failure = error
            continue
        try:
            policy.check(ipaddress.ip_address(connected.getpeername()[0]), target.port)
        except BaseException:
            connected.close()
            raise
        return connected
    raise failure


def _ask(connection: http.client.HTTPConnection, target: Target, watch: _Watch) -> http.client.HTTPResponse:
    # Host and its port are put in by http.client.
    connection.putrequest("GET", target.path, skip_accept_encoding=True)
    connection.putheader("Accept", "*/*")
    connection.putheader("Accept-Encoding", "identity")
    connection.putheader("User-Agent", "Slipway")
    connection.putheader("Connection", "close")
    connection.endheaders()
    response = connection.getresponse()
    if watch.has_cut:
        raise TimeoutError
    return response


def _next(target: Target, location: str | None, policy: Policy) -> Target:
    """Where a redirect leads, checked like the first address."""
    if not location:
        raise UserError("url_unreachable", "The server leads on, but not to where.")
    with contextlib.suppress(UnicodeError):
        # Headers are read as Latin-1; addresses that are not ASCII are UTF-8.
        location = location.encode("latin-1").decode()
    host = f"[{target.host}]" if ":" in target.host else target.host
    following = policy.target(urljoin(f"{target.scheme}://{host}:{target.port}{target.path}", location))
    if following.scheme == "s3" or (target.scheme, following.scheme) == ("https", "http"):
        refuse(f"The address leads from {target.scheme} to {following.scheme}.")
    return following


def _read(
    response: http.client.HTTPResponse,
    keep: Keep,
    max_bytes: int,
    progress: Progress,
    bounds: Bounds,
    watch: _Watch,
) -> None:
    if response.status != 200:
        raise UserError("url_unreachable", f"The server answered {response.status}.")
    size = response.length
    if size is not None and size > max_bytes:
        raise UserError("url_too_large", limit_bytes=max_bytes)
    begun, read = time.monotonic(), 0
    watch.allow(bounds.silence)
    while chunk := response.read1(_CHUNK):
        read += len(chunk)
        if read > max_bytes:
            raise UserError("url_too_large", limit_bytes=max_bytes)
        lasted = time.monotonic() - begun
        if watch.has_cut or (lasted > bounds.slow_after and read < bounds.slow * lasted):
            raise UserError("url_timeout")
        keep(chunk)
        progress(read, size)
        watch.allow(bounds.silence)
    if watch.has_cut:
        raise UserError("url_timeout")
    if size is not None and read < size:
        raise UserError("url_unreachable", "The connection broke before the whole file had come.")
