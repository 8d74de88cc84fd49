"""A user's program: it knows the public contract and nothing else."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

POLL_S = 0.3


def wait_for(probe: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    """Ask until the probe answers something true; its answer. Fails with `what` when the time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(POLL_S)  # between two questions, not instead of one


class Client:
    """The control API and the prediction API of one running Slipway."""

    def __init__(self, url: str, predict_url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self.control = httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=60)
        self.predict_url = predict_url

    def get(self, path: str, **query: Any) -> Any:
        reply = self.control.get(path, params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def post(self, path: str, status: int, body: dict[str, Any] | None = None) -> Any:
        reply = self.control.post(path, json=body or {})
        assert reply.status_code == status, reply.text
        return reply.json()

    def upload(self, project: str, name: str, kind: str, file: Path, mapping: dict[str, str] | None = None) -> str:
        """Send a file in one piece; the id of the dataset."""
        fields = {"project": project, "name": name, "kind": kind}
        if mapping:
            fields["mapping"] = json.dumps(mapping)
        with open(file, "rb") as stream:
            reply = self.control.post("/datasets", data=fields, files={"file": (file.name, stream)})
        assert reply.status_code == 202, reply.text
        assert reply.json()["state"] == "processing"
        return str(reply.json()["id"])

    def imported(self, dataset: str) -> dict[str, Any]:
        """The dataset once its import has ended."""

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(f"/datasets/{dataset}")
            return found if found["state"] != "processing" else None

        found: dict[str, Any] = wait_for(ended, "the import to end", 120)
        assert found["state"] == "ready", found["error"]
        return found

    def train(self, project: str, dataset: str, template: str, **options: Any) -> str:
        """Start a job; its id."""
        body = {"project": project, "dataset": dataset, "template": template, **options}
        reply = self.post("/jobs", 202, body)
        assert reply["state"] == "queued"
        return str(reply["id"])

    def trained(self, job: str, timeout_s: float = 300) -> dict[str, Any]:
        """The job once it has succeeded."""

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(f"/jobs/{job}")
            return found if found["state"] not in ("queued", "running") else None

        found: dict[str, Any] = wait_for(ended, "the job to end", timeout_s)
        assert found["state"] == "succeeded", found["error"]
        return found

    def deploy(self, project: str, name: str, model: str) -> dict[str, Any]:
        """Create an endpoint for a model; the endpoint."""
        endpoint: dict[str, Any] = self.post("/endpoints", 201, {"project": project, "name": name, "model": model})
        return endpoint

    def key(self, team: str, name: str, **options: Any) -> dict[str, Any]:
        """Create an API key; its id, prefix and text."""
        created: dict[str, Any] = self.post("/keys", 201, {"team": team, "name": name, **options})
        return created


class Predictor:
    """Somebody who has a key and the address of an endpoint."""

    def __init__(self, predict_url: str, slug: str, key: str) -> None:
        self.http = httpx.Client(base_url=predict_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self.path = f"/v1/endpoints/{slug}/predict"
        self.answered: list[tuple[str, int]] = []

    def send(self, **request: Any) -> httpx.Response:
        """One request; what the endpoint answered is remembered (404 comes from no endpoint)."""
        reply = self.http.post(self.path, **request)
        if reply.status_code != 404:
            self.answered.append((reply.headers["X-Request-Id"], reply.status_code))
        return reply

    def ready(self, **request: Any) -> httpx.Response:
        """The first answer that is not "still loading" (or a key or route not yet known)."""

        def answer() -> httpx.Response | None:
            reply = self.send(**request)
            return reply if reply.status_code == 200 else None

        reply: httpx.Response = wait_for(answer, "the endpoint to answer", 20)
        return reply

    def predict(self, inputs: list[Any]) -> list[dict[str, Any]]:
        """Predictions for inputs."""
        reply = self.send(json={"inputs": inputs})
        assert reply.status_code == 200, reply.text
        assert reply.json()["request_id"] == reply.headers["X-Request-Id"]
        predictions: list[dict[str, Any]] = reply.json()["predictions"]
        assert len(predictions) == len(inputs)
        return predictions
