"""Clients that keep asking, and remember every answer."""

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Seen:
    """What the clients saw. `answers` are (request id, status, model number, label), with the moment each was asked."""

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
    seen, stop, lock = Seen(), threading.Event(), threading.Lock()

    def run(number: int) -> None:
        connection, count = _connection(port), 0
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        while not stop.is_set():
            count += 1
            good = (count + number) % 2 == 0
            body = json.dumps({"inputs": ["good film" if good else "bad film"]})
            asked = time.monotonic()
            try:
                connection.request("POST", f"/v1/endpoints/{slug}/predict", body, headers)
                reply = connection.getresponse()
                answer = json.loads(reply.read())
            except (OSError, http.client.HTTPException, ValueError):
                with lock:
                    seen.broken += 1
                connection.close()
                connection = _connection(port)
                stop.wait(0.02)
                continue
            with lock:
                if answer.get("error", {}).get("code") == "unavailable":
                    seen.uncounted += 1
                    continue
                seen.answers.append((reply.headers["x-request-id"], reply.status))
                model = answer.get("model", {}).get("number")
                label = answer["predictions"][0]["label"] if reply.status == 200 else None
                seen.details.append((asked, reply.status, model, label))
                seen.wrong += label is not None and (label == "positive") != (good == (model == 1))
        connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=20)
