"""People and programs use a running Slipway, and remember what they were told. It has to stay true, whatever fails."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.stack import Stack

TUS: Final = {"Tus-Resumable": "1.0.0"}
OCTETS: Final = {"Content-Type": "application/offset+octet-stream"}
QUESTIONS: Final = ("good film", "bad film", "fine day", "awful day")


@dataclass
class History:
    """What was said to whom."""

    # Request id → status of every prediction that was answered; how many were not.
    answers: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    labels: dict[str, set[str]] = field(default_factory=dict)
    # Dataset id → rows, of imports that were taken on.
    datasets: dict[str, int] = field(default_factory=dict)
    revoked: int = 0
    # What must never be: in words.
    wrong: list[str] = field(default_factory=list)


class Users:
    """Several at once, each doing one kind of thing over and over, while the block of `at_work` runs."""

    def __init__(self, stack: Stack, team: str, project: str, endpoint: dict[str, Any], key: str, seed: int) -> None:
        self.stack, self.team, self.project, self.endpoint, self.key = stack, team, project, endpoint, key
        self.said, self.stop = History(), threading.Event()
        self._chance = random.Random(seed)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[History]:
        """Everything that they do, until the end of the block."""
        work = (self._ask, self._ask, self._upload, self._revoke, self._look)
        with ThreadPoolExecutor(len(work)) as pool:
            running = [pool.submit(self._over_and_over, one) for one in work]
            try:
                yield self.said
            finally:
                self.stop.set()
        for one in running:
            one.result()

    def _over_and_over(self, act: Callable[[httpx.Client], None]) -> None:
        headers = {"Authorization": f"Bearer {self.stack.token}"}
        with httpx.Client(base_url=f"{self.stack.url}/api/v1", headers=headers, timeout=30, trust_env=False) as client:
            while not self.stop.is_set():
                act(client)

    def _control(self, client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response | None:
        """The reply; None where there was none, or one that says to come again. S2: no other failure is told."""
        try:
            reply = client.request(method, path, **options)
        except httpx.TransportError:
            self.stop.wait(0.1)
            return None
        if reply.status_code == 500 or (reply.status_code > 500 and not reply.headers.get("x-request-id")):
            self.said.wrong.append(f"{method} {path}: {reply.status_code} {reply.text[:200]}")
        if reply.status_code >= 429:
            self.stop.wait(0.2)
            return None
        return reply

    def _predict(self, key: str, text: str) -> tuple[int, str, str]:
        """Status, request id and label of a prediction; status 0 where the connection broke."""
        url = f"{self.stack.predict_url}/v1/endpoints/{self.endpoint['slug']}/predict"
        try:
            reply = httpx.post(
                url, json={"inputs": [text]}, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
            )
        except httpx.TransportError:
            self.said.broken += 1
            self.stop.wait(0.05)
            return 0, "", ""
        label = reply.json()["predictions"][0]["label"] if reply.status_code == 200 else ""
        if reply.status_code == 503 and reply.json()["error"]["code"] == "unavailable":
            self.said.broken += 1  # nothing could be counted, and it says so
            return 503, "", ""
        self.said.answers[reply.headers["x-request-id"]] = reply.status_code
        return reply.status_code, reply.headers["x-request-id"], label

    def _ask(self, _: httpx.Client) -> None:
        """P1: the same question has the same answer."""
        text = self._chance.choice(QUESTIONS)
        status, request_id, label = self._predict(self.key, text)
        if status == 200:
            self.said.labels.setdefault(text, set()).add(label)
        elif status not in (0, 503):
            self.said.wrong.append(f"prediction {request_id}: {status}")

    def _upload(self, client: httpx.Client) -> None:
        """D1 and D2: in two pieces, from wherever the server says that it is."""
        rows = self._chance.randrange(20, 60)
        lines = [f"{'good' if n % 2 else 'bad'} {n} {self._chance.random()},{n % 2}" for n in range(rows)]
        data = "\n".join(["text,label", *lines]).encode()
        begun = self._control(client, "POST", "/uploads", headers={**TUS, "Upload-Length": str(len(data))})
        address = begun.headers["Location"] if begun else ""
        offset = 0
        while address and offset < len(data) and not self.stop.is_set():
            head = self._control(client, "HEAD", address, headers=TUS)
            if head is None:
                continue
            if int(head.headers["Upload-Offset"]) < offset:
                self.said.wrong.append(f"{address}: {offset} bytes were acknowledged")
            offset = int(head.headers["Upload-Offset"])
            end = max(offset, len(data) // 2) if offset < len(data) // 2 else len(data)
            headers = {**TUS, **OCTETS, "Upload-Offset": str(offset)}
            sent = self._control(client, "PATCH", address, headers=headers, content=data[offset:end])
            if sent is not None and sent.status_code == 204:
                offset = int(sent.headers["Upload-Offset"])
        body = {"project": self.project, "name": "history", "kind": "text", "upload": address.rsplit("/", 1)[-1]}
        while address and offset == len(data) and not self.stop.is_set():
            made = self._control(client, "POST", "/datasets", json=body)
            if made is not None:
                if made.status_code == 202:
                    self.said.datasets[made.json()["id"]] = rows
                else:
                    self.said.wrong.append(f"dataset: {made.status_code} {made.text[:200]}")
                break
        self.stop.wait(1.0)  # imports take their time: not more of them than can be done

    def _revoke(self, client: httpx.Client) -> None:
        """K1: a second after the answer to DELETE, the key opens nothing."""
        made = self._control(client, "POST", "/keys", json={"team": self.team, "name": "history"})
        if made is None or made.status_code != 201:
            return
        key, text = made.json()["id"], made.json()["key"]
        self._predict(text, QUESTIONS[0])
        while not self.stop.is_set():
            gone = self._control(client, "DELETE", f"/keys/{key}")
            if gone is not None and gone.status_code == 204:
                break
        else:
            return
        self.stop.wait(1.0)
        for _ in range(3):
            asked = time.monotonic()
            if self._predict(text, QUESTIONS[0])[0] == 200:
                self.said.wrong.append(f"{key} opened something {time.monotonic() - asked:.1f} s after it was revoked")
        self.said.revoked += 1

    def _look(self, client: httpx.Client) -> None:
        """S2: pages and lists say what is, or that it cannot be said now."""
        self._control(client, "GET", self._chance.choice(("/me", "/jobs", "/datasets", "/endpoints", "/usage")))
