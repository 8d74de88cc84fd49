"""Heads that are looked up against heads that are read: the answers are the same, in whatever pieces what comes."""

import asyncio
import re
from collections.abc import Awaitable
from itertools import pairwise
from types import SimpleNamespace

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from workers.serving.cycle import Cycle
from workers.serving.heads import Head, Heads
from workers.serving.protocol import Connection

PLAIN = b"POST /v1/endpoints/a/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
LENGTHS = (0, 1, 4, 40)


def post(more: bytes, body: bytes) -> bytes:
    """A request with some headers more than it needs."""
    return PLAIN % len(body) + more + b"\r\n" + body


def chunked(body: bytes, trailer: bytes = b"") -> bytes:
    """The same in two chunks."""
    head = PLAIN.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
    pieces = (body[:1], body[1:]) if len(body) > 1 else (body,) if body else ()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head + b"\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


BODIES = st.sampled_from([b"", b"1", b"\r\n\r\n", b"GET ", b'{"inputs": ["good"]}' * 2, PLAIN[:40]])
# Each is one request, or what pretends to be one.
REQUESTS = st.one_of(
    st.builds(post, st.just(b""), BODIES),  # by far the commonest
    st.builds(
        post,
        st.sampled_from(
            [
                b"Connection: keep-alive\r\n",
                b"Connection: close\r\n",
                b"Expect: 100-continue\r\n",
                b"Connection: upgrade\r\nUpgrade: h2c\r\n",
                b"Host: elsewhere\r\n",
                b"X-Folded: one\r\n two\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Transfer-Encoding: identity\r\n",
                b"Content-Length: 4\r\n",
                b"content-length: 0\r\n",
                b"Content-Length : 4\r\n",
                b"X-Bare: 1\n",
                b"X-Null: \x00\r\n",
                b": nameless\r\n",
                b"\r\n",
                b"X: " + b"x" * 2100 + b"\r\n",
            ]
        ),
        BODIES,
    ),
    st.builds(chunked, BODIES, st.sampled_from([b"", b"Content-Length: 4\r\n", b"Host: elsewhere\r\n"])),
    st.builds(lambda body: post(b"", body).replace(b"HTTP/1.1", b"HTTP/1.0"), BODIES),
    st.builds(lambda body: post(b"", body).replace(b"Content-Length: ", b"Content-Length: 00"), BODIES),
    st.builds(lambda body: post(b"", body).replace(b"Content-Length: ", b"Content-Length: +"), BODIES),
    st.builds(lambda body: post(b"", body).replace(b"\r\n\r\n", b"\n\n", 1), BODIES),
    st.builds(lambda body: post(b"", body)[: -len(body) or None], BODIES),  # it promises more than it brings
    st.builds(lambda body: b"\r\n" + post(b"", body), BODIES),
    st.builds(lambda body: post(b"", body) + b"\r", BODIES),
    st.sampled_from(
        [
            *(b"%b /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" % method for method in (b"GET", b"HEAD", b"OPTIONS")),
            *(b"%b /v1 HTTP/1.1\r\nContent-Length: 4\r\n\r\n1234" % method for method in (b"GET", b"PUT", b"HEAD")),
            b"CONNECT localhost:80 HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"POST /half HTTP/1.1\r\nX-Half: ",  # what comes next, whatever it looks like, is this header's value
            b"\r\n\r\n",
        ]
    ),
)


class Unread(Heads):
    """Keeps nothing: every head is read."""

    def keep(self, data: bytes, method: str, path: str, headers: dict[bytes, bytes], body: bytes) -> Head | None:
        return None


class Reading(Connection):
    """A connection that knows no head."""

    heads = Unread()


class Line:
    """What a connection writes to: keeps the bytes, and whether it was closed."""

    def __init__(self) -> None:
        self.sent, self.closed, self.paused = b"", False, False

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.sent += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, name: str) -> None:
        return None


class Mirror:
    """Answers every request with what it was, at once or a turn of the loop later."""

    def __init__(self, late: bool) -> None:
        self.late = late
        self.looked_up = 0

    def __call__(self, cycle: Cycle) -> Awaitable[None] | None:
        self.looked_up += cycle.head is not None and not cycle.more_body
        if self.late or cycle.more_body:
            return self._answer(cycle)
        self._send(cycle, cycle.body)
        return None

    async def _answer(self, cycle: Cycle) -> None:
        await asyncio.sleep(0)
        body, more = b"", True
        while more:
            message = await cycle.receive()
            if message["type"] != "http.request":
                return
            body, more = body + message["body"], message["more_body"]
        self._send(cycle, body)

    def _send(self, cycle: Cycle, body: bytes) -> None:
        cycle.send(200, [], repr((cycle.method, cycle.path, sorted(cycle.headers.items()), body)).encode())


async def told(kind: type[Connection], pieces: list[tuple[bytes, bool]], *, late: bool) -> tuple[bytes, bool]:
    """What a connection answers to pieces, after some of which the loop turns; and whether it hung up."""
    line, app = Line(), Mirror(late)
    connection = kind(SimpleNamespace(loaded_app=app), SimpleNamespace(connections=set()), None)
    connection.connection_made(line)  # type: ignore[arg-type]
    waiting = b""
    for piece, turns in pieces:
        waiting += piece
        if not (line.closed or line.paused):
            connection.data_received(waiting)
            waiting = b""
        for _ in range(8 if turns else 0):
            await asyncio.sleep(0)
    for _ in range(60):
        if waiting and not (line.closed or line.paused):
            connection.data_received(waiting)
            waiting = b""
        await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    return re.sub(rb"[0-9a-f]{24}", b"id", line.sent), line.closed


def cut(stream: bytes, places: list[int], turns: list[bool]) -> list[tuple[bytes, bool]]:
    """The stream in pieces, each with whether the loop turns after it."""
    bounds = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [(stream[start:end], turns[at % len(turns)]) for at, (start, end) in enumerate(pairwise(bounds))]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    asked=st.lists(REQUESTS, min_size=1, max_size=6),
    whole=st.booleans(),
    places=st.lists(st.integers(0, 5000), max_size=6),
    turns=st.lists(st.booleans(), min_size=1, max_size=7),
    late=st.booleans(),
)
@example(asked=[post(b"", b"1234")] * 3, whole=True, places=[], turns=[True], late=False)
@example(asked=[b"POST /half HTTP/1.1\r\nX-Half: ", post(b"", b"1")], whole=True, places=[], turns=[True], late=False)
@example(asked=[post(b"", b"1234")[:-4], post(b"", b"1")], whole=True, places=[], turns=[True], late=False)
def test_a_connection_that_knows_heads_answers_as_one_that_reads_them(
    asked: list[bytes], whole: bool, places: list[int], turns: list[bool], late: bool
) -> None:
    stream = b"".join(asked)
    if whole:  # one request at a time, as nearly all clients send them
        pieces = [(one, turns[at % len(turns)]) for at, one in enumerate(asked)]
    else:
        pieces = cut(stream, places, turns)

    async def compared() -> None:
        for one in asked:  # known before, each from a connection of its own
            await told(Connection, [(one, True)], late=False)
        assert await told(Connection, pieces, late=late) == await told(Reading, pieces, late=late)

    asyncio.run(compared())
