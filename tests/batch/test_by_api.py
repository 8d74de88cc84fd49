"""Whole files by the public API, on the whole product: answers, usage, a child that is killed, cancelling."""

import contextlib
import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.batch.registering import register
from tests.journey.client import Client, wait_for
from tests.stack import Stack

TEXTS = ["good film", "bad film", "", "film film good"]
LABELS = ["positive", "negative", "", "positive"]


def lines(count: int) -> bytes:
    return b"id,text\n" + b"".join(b"%d,%s\n" % (n, TEXTS[n % 4].encode()) for n in range(count))


class Files(Client):
    """A client that has files predicted, by the text model of a project of its own."""

    def __init__(self, stack: Stack, bundle: Path) -> None:
        super().__init__(stack.url, stack.predict_url, stack.token)
        self.project = str(self.post("/projects", 201, {"name": "Files"})["id"])
        self.model = register(stack.home, self.project, bundle)

    def predict(self, content: bytes, name: str = "rows.csv", **fields: str) -> str:
        """Have a file predicted; the id."""
        body = {"model": self.model, **fields} if "endpoint" not in fields else fields
        reply = self.control.post("/predictions", data=body, files={"file": (name, content)})
        assert reply.status_code == 202, reply.text
        assert reply.json()["state"] == "queued"
        return str(reply.json()["id"])

    def look(self, prediction: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/predictions/{prediction}")
        return found

    def ended(self, prediction: str) -> dict[str, Any]:
        """The prediction once it is over."""

        def over() -> dict[str, Any] | None:
            found = self.look(prediction)
            return found if found["state"] not in ("queued", "running") else None

        found: dict[str, Any] = wait_for(over, "the prediction to end", 120)
        return found

    def answers(self, prediction: str) -> bytes:
        """The answered file, as its hash says."""
        reply = self.control.get(f"/predictions/{prediction}/download")
        assert reply.status_code == 200, reply.text
        assert hashlib.sha256(reply.content).hexdigest() == self.look(prediction)["result"]["sha256"]
        return reply.content

    def used(self, prediction: str) -> dict[str, int]:
        """Requests and items that are booked for it."""
        rows = self.get("/usage", project=self.project, group="key")["results"]
        own = [row for row in rows if row["key"] == prediction]
        return {name: sum(row[name] for row in own) for name in ("requests", "items")}


@pytest.fixture(scope="module")
def files(stack: Stack, made: dict[str, Path]) -> Files:
    return Files(stack, made["text"])


def test_a_file_comes_back_with_answers_and_is_counted(files: Files) -> None:
    prediction = files.predict(lines(1000))
    found = files.ended(prediction)
    assert (found["state"], found["rows"], found["failed"], found["progress"]) == ("succeeded", 1000, 250, 1.0)
    assert found["columns"] == ["label", "score", "error"] and found["labels"] == {"positive": 500, "negative": 250}
    rows = list(csv.DictReader(io.StringIO(files.answers(prediction).decode())))
    assert [row["label"] for row in rows] == LABELS * 250 and rows[999]["id"] == "999"
    # A block of 256 rows counts like a request of as many inputs.
    wait_for(lambda: files.used(prediction) == {"requests": 4, "items": 750}, "the usage to be booked")
    sources = files.get("/usage", project=files.project, group="source")["results"]
    assert {row["source"] for row in sources} == {"batch"}
    listed = files.get("/predictions", project=files.project)["results"]
    assert prediction in {one["id"] for one in listed}


def test_an_endpoint_answers_a_file_and_its_usage_says_so(files: Files) -> None:
    endpoint = files.deploy(files.project, "Files", files.model)
    content = b'{"q": "good", "n": 1}\n{"q": "bad", "n": 2}\n'
    asked = {"endpoint": endpoint["id"], "mapping": json.dumps({"text": "q"}), "scores": "true"}
    prediction = files.predict(content, "rows.jsonl", **asked)
    assert files.ended(prediction)["endpoint"] == endpoint["id"]
    first, second = map(json.loads, files.answers(prediction).splitlines())
    assert (first["n"], first["label"], second["label"]) == (1, "positive", "negative")
    assert second["score_negative"] == second["score"]

    def booked() -> bool:
        rows = files.get("/usage", endpoint=endpoint["id"], group="key")["results"]
        # Nobody waited for it: it has no part in the endpoint's latencies.
        return [(row["key"], row["items"], row["p50_ms"]) for row in rows] == [(prediction, 2, None)]

    wait_for(booked, "the usage to be booked")


def test_a_killed_prediction_goes_on_and_counts_every_row_once(files: Files, stack: Stack) -> None:
    count = 1_000_000
    prediction = files.predict(lines(count))
    job = files.look(prediction)["job"]
    stored = stack.home / "storage" / "jobs" / job / "attempts" / "1" / "checkpoints"
    wait_for(lambda: any(stored.glob("state-*.json")), "a checkpoint to be stored", 60)
    for command, process in stack.children().items():
        if "workers.batch" in command:
            with contextlib.suppress(psutil.NoSuchProcess):  # the one that waits for it went with it
                process.kill()
    found = files.ended(prediction)
    assert (found["state"], found["rows"], found["attempt"]) == ("succeeded", count, 2), found["error"]
    rows = csv.reader(io.StringIO(files.answers(prediction).decode()))
    assert next(rows) == ["id", "text", "label", "score", "error"]
    assert all((row[0], row[2]) == (str(n), LABELS[n % 4]) for n, row in enumerate(rows))
    expected = {"requests": -(-count // 256), "items": count * 3 // 4}
    wait_for(lambda: files.used(prediction) == expected, "every row to be counted once")


def test_a_cancelled_prediction_stops_and_has_no_answers(files: Files) -> None:
    prediction = files.predict(lines(200_000))
    wait_for(lambda: files.look(prediction)["state"] == "running", "it to run")
    assert files.control.post(f"/predictions/{prediction}/cancel").status_code == 202
    assert files.ended(prediction)["state"] == "cancelled"
    refused = files.control.get(f"/predictions/{prediction}/download")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "prediction_not_ready")


def test_a_file_without_the_column_says_what_it_has(files: Files) -> None:
    found = files.ended(files.predict(b"a,b\n1,2\n3,4\n"))
    assert found["state"] == "failed" and found["error"]["code"] == "column_missing"
    assert "a, b" in found["error"]["evidence"] and found["result"] is None
