"""Clients that keep asking, and remember every answer."""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_PATIENCE_S = 20
_Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Seen:
    """What the clients saw: (request id, status) and (moment asked, status, model number, label) of each answer."""

    answers: list[tuple[str, int]] = field(default_factory=list)
    details: list[tuple[float, int, int | None, str | None]] = field(default_factory=list)
    # Requests whose connection broke before an answer.
    broken: int = 0
    # Refusals because nothing can be counted: Redis is away.
    uncounted: int = 0
    # Answers whose label is not that of their own input.
    wrong: int = 0

    def statuses(self) -> Counter[int]:
        """How many answers of each status."""
        return Counter(status for _, status in self.answers)


@contextlib.contextmanager
def asking(port: int, slug: str, key: str, *, clients: int = 8) -> Iterator[Seen]:
    """Clients that ask one after the other, each on its own connection, while the block runs.

    Each sends texts of its own and checks that the answers are for them ("good" is what model 1 calls positive).
    """
    seen, stop = Seen(), threading.Event()

    async def run() -> None:
        await asyncio.gather(*(_client(number, port, slug, key, seen, stop) for number in range(clients)))

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(_PATIENCE_S + 10)


async def _client(number: int, port: int, slug: str, key: str, seen: Seen, stop: threading.Event) -> None:
    head = f"POST /v1/endpoints/{slug}/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    writer: asyncio.StreamWriter | None = None
    count = 0
    while not stop.is_set():
        count += 1
        good = (count + number) % 2 == 0
        body = json.dumps({"inputs": ["good film" if good else "bad film"]})
        request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        asked = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                status, headers, content = await _answer(reader)
                answer = json.loads(content)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            seen.broken += 1
            if writer is not None:
                writer.close()
                writer = None
            await asyncio.sleep(0.02)
            continue
        if headers.get("connection") == "close":
            writer.close()
            writer = None
        if answer.get("error", {}).get("code") == "unavailable":
            seen.uncounted += 1
            continue
        seen.answers.append((headers["x-request-id"], status))
        model = answer.get("model", {}).get("number")
        label = answer["predictions"][0]["label"] if status == 200 else None
        seen.details.append((asked, status, model, label))
        seen.wrong += label is not None and (label == "positive") != (good == (model == 1))
    if writer is not None:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> _Answer:
    """Status, headers by lower-case name, and body of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
