"""A client that says how long it waits is refused rather than served too late."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.serving import bundles
from tests.serving.conftest import Stage
from tests.serving.running import until


def test_what_cannot_begin_in_time_is_refused_and_recorded(own_stage: Stage, bundle_folder: Path) -> None:
    own_stage.control.add_route("slow", bundle_folder / "dear.zip", kind="image")
    own_stage.control.publish()
    picture = {"image": base64.b64encode(bundles.png(255, 0)).decode()}

    def ask(count: int, timeout_ms: int) -> httpx.Response:
        headers = {**own_stage.auth, "X-Timeout-Ms": str(timeout_ms)}
        return own_stage.client.post(
            "/v1/endpoints/slow/predict", json={"inputs": [picture] * count}, headers=headers, timeout=60
        )

    until(lambda: ask(1, 60_000).status_code == 200)
    with ThreadPoolExecutor(3) as clients:
        patient = [clients.submit(ask, 16, 60_000) for _ in range(3)]
        hasty = until(lambda: (reply := ask(1, 1)).status_code == 503 and reply)
        assert [client.result().status_code for client in patient] == [200] * 3
    # At once where the queue is known to be too long, else when its turn comes too late.
    code = hasty.json()["error"]["code"]
    assert hasty.status_code == 503 and code in ("overloaded", "deadline_exceeded")
    assert hasty.headers["retry-after"] == "1"
    assert own_stage.record(hasty)["code"] == code
    assert ask(1, 60_000).status_code == 200
