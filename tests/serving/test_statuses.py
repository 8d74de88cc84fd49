"""Every status of the contract: its code, its headers, and its record in the ledger's stream."""

import base64
import gzip
import http.client
import io
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.serving import bundles
from tests.serving.conftest import Stage
from tests.serving.running import new_id, until
from workers.contracts.errors import CATALOGUE
from workers.contracts.snapshot import TeamQuota

PREDICT = "/v1/endpoints/reviews/predict"


def code_of(reply: httpx.Response, status: int) -> str:
    """The code of an error, after its body and headers have been checked."""
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"code", "message", "hint", "params", "request_id"}
    assert error["request_id"] == reply.headers["x-request-id"]
    assert CATALOGUE[error["code"]].status == status
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-type"] == "application/json"
    return str(error["code"])


def test_without_a_key_nobody_gets_in(stage: Stage) -> None:
    reply = stage.client.post(PREDICT, json={"inputs": ["good"]})
    assert code_of(reply, 401) == "key_missing"
    assert reply.headers["www-authenticate"] == "Bearer"
    found = stage.record(reply)
    assert found["team"] == stage.control.team and found["key"] is None and found["code"] == "key_missing"


@pytest.mark.parametrize("value", ["Bearer swk_wrong", "Basic abc", "bearer", "Bearer " + "x" * 5000])
def test_a_bad_key_is_refused(stage: Stage, value: str) -> None:
    reply = stage.client.post(PREDICT, json={"inputs": ["good"]}, headers={"Authorization": value})
    assert code_of(reply, 401) == "key_invalid"


def test_a_key_in_the_address_is_ignored(stage: Stage) -> None:
    reply = stage.client.post(f"{PREDICT}?api_key={stage.key}&key={stage.key}", json={"inputs": ["good"]})
    assert code_of(reply, 401) == "key_missing"


def test_an_expired_key_is_refused(stage: Stage) -> None:
    key = stage.control.add_key(expires=time.time() + 1)
    stage.control.publish()
    assert until(lambda: stage.predict(["good"], key=key)).status_code == 200
    until(lambda: stage.predict(["good"], key=key).status_code == 401, 5)


def test_a_key_for_other_endpoints_is_refused(stage: Stage) -> None:
    key = stage.control.add_key(endpoints=[stage.image.endpoint])
    stage.control.publish()
    reply = stage.predict(["good"], key=key)
    assert code_of(reply, 403) == "key_not_for_endpoint"
    assert stage.record(reply)["endpoint"] == stage.text.endpoint


def test_another_teams_endpoint_does_not_exist(stage: Stage) -> None:
    """A stranger cannot tell it from an address that nobody has, and leaves no trace in its owner's ledger."""
    key = stage.control.add_key(team="tem_" + "z" * 24)
    stage.control.publish()
    foreign, unknown = stage.predict(["good"], key=key), stage.predict(["good"], slug="nothing", key=key)
    assert code_of(foreign, 404) == code_of(unknown, 404) == "endpoint_not_found"
    assert foreign.json()["error"]["message"] == unknown.json()["error"]["message"]
    assert stage.record(foreign)["team"] == "tem_" + "z" * 24
    assert stage.record(foreign)["endpoint"] == stage.record(unknown)["endpoint"] == ""


@pytest.mark.parametrize(
    "path",
    [
        "/v1/endpoints/..%2f..%2fx/predict",
        "/v1/endpoints/%252e%252e%252f/predict",
        "/v1/endpoints/reviews/other",
        "/v1/endpoints/" + "x" * 4096,
        "/v1/endpoints/a%00b",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/status",
        "/v2/repository/index",
        "/v2/logging",
        "/v2/trace/setting",
        "/_proxy/",
        "/etc/passwd",
        "/",
    ],
)
def test_what_is_not_there_is_404(stage: Stage, path: str) -> None:
    for method in ("GET", "POST"):
        reply = stage.client.request(method, path, headers=stage.auth)
        assert reply.status_code == 404, (method, reply.text)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", PREDICT, "POST"),
        ("PUT", PREDICT, "POST"),
        ("POST", "/v1/endpoints/reviews", "GET, HEAD"),
        ("GET", "/v1/endpoints/reviews/feedback", "POST"),
        ("POST", "/v2/health/live", "GET, HEAD"),
        ("GET", "/v2/models/reviews/infer", "POST"),
        ("DELETE", "/v2/models/reviews", "GET, HEAD"),
    ],
)
def test_other_methods_are_405(stage: Stage, method: str, path: str, allowed: str) -> None:
    reply = stage.client.request(method, path, headers=stage.auth)
    assert reply.status_code == 405
    assert reply.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v1/endpoints/reviews"])
def test_head_is_get_without_the_body(stage: Stage, path: str) -> None:
    whole, head = (stage.client.request(method, path, headers=stage.auth) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "", "evil.test:8001", "localhost@evil.test"])
def test_a_foreign_host_is_refused_everywhere(stage: Stage, host: str) -> None:
    for path in ("/healthz", "/v2/health/live", PREDICT):
        assert stage.client.get(path, headers={"Host": host}).status_code == 400
    assert stage.predict(["good"]).status_code == 200


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(stage: Stage) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stage.serving.port, timeout=5)
    connection.putrequest("POST", PREDICT)
    connection.putheader("Authorization", f"Bearer {stage.key}")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10 * 2**30))
    connection.endheaders()
    reply = connection.getresponse()  # not one byte of the body was sent
    assert reply.status == 413
    assert b"payload_too_large" in reply.read()


def test_a_chunked_body_is_cut_off_at_the_limit(stage: Stage) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while True:
            sent += 65_536
            yield b"x" * 65_536

    with httpx.Client(base_url=stage.serving.url, timeout=20, trust_env=False) as client:
        reply = client.post(PREDICT, content=endless(), headers={**stage.auth, "Content-Type": "application/json"})
    assert code_of(reply, 413) == "payload_too_large"
    # What was sent is what was read and what lay in the sockets' buffers.
    assert sent < 24 * 2**20
    assert stage.record(reply)["code"] == "payload_too_large"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "image/png", "text/<script>", None]
)
def test_other_content_types_are_415(stage: Stage, kind: str | None) -> None:
    headers = {**stage.auth, **({"Content-Type": kind} if kind else {})}
    reply = stage.client.post(PREDICT, content=b'{"inputs": ["good"]}', headers=headers)
    assert code_of(reply, 415) == "unsupported_media_type"
    assert "script" not in reply.text


def test_a_body_of_an_unknown_encoding_is_415(stage: Stage) -> None:
    headers = {**stage.auth, "Content-Type": "application/json", "Content-Encoding": "br"}
    assert code_of(stage.client.post(PREDICT, content=b"\x1f\x8b", headers=headers), 415) == "unsupported_media_type"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\x1f\x8b", 400),
        (b"no gzip", 400),
        (gzip.compress(b'{"inputs": ["good"]}')[:-4], 400),
        (gzip.compress(b'{"inputs": ["good"]}') + b"more", 400),
        (gzip.compress(b'{"inputs": ["' + b"a" * 40_000_000 + b'"]}'), 413),
    ],
)
def test_a_gzip_body_that_cannot_be_unpacked_is_refused(stage: Stage, body: bytes, status: int) -> None:
    headers = {**stage.auth, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    code_of(stage.client.post(PREDICT, content=body, headers=headers), status)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"inputs": NaN}', b"[" * 100_000, b'{"inputs": ["\\ud800"]}', b'{"inputs": [1e99999]}x'],
)
def test_what_is_no_json_is_400(stage: Stage, body: bytes) -> None:
    headers = {**stage.auth, "Content-Type": "application/json"}
    reply = stage.client.post(PREDICT, content=body, headers=headers)
    assert code_of(reply, 400) == "malformed_json"
    assert stage.record(reply)["items"] == 0


@pytest.mark.parametrize(
    ("inputs", "index"),
    [
        (["good", 7], 1),
        (["good", "", "bad"], 1),
        ([None], 0),
        ([{"text": "good", "x": 1}], 0),
        ([["good"]], 0),
        ([True], 0),
        ([1e308], 0),
    ],
)
def test_a_bad_input_is_named_by_its_index(stage: Stage, inputs: list[Any], index: int) -> None:
    reply = stage.predict(inputs)
    assert code_of(reply, 422) == "input_invalid"
    assert reply.json()["error"]["params"] == {"index": index}
    found = stage.record(reply)
    assert found["items"] == 0 and found["revision"] == stage.text.revisions[0].revision


@pytest.mark.parametrize(
    "body", [{}, [], {"inputs": "good"}, {"inputs": []}, {"inputs": ["good"], "model": "x"}, 7, "good"]
)
def test_a_body_without_inputs_is_422(stage: Stage, body: Any) -> None:
    assert code_of(stage.client.post(PREDICT, json=body, headers=stage.auth), 422) == "input_invalid"


def test_too_many_inputs_are_422(stage: Stage) -> None:
    reply = stage.predict(["good"] * 257)
    assert code_of(reply, 422) == "too_many_inputs"
    assert reply.json()["error"]["params"] == {"limit": 256}
    assert stage.predict(["good"] * 256).status_code == 200


def eps() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"


def tiff() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "TIFF")
    return out.getvalue()


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"<svg/>",
        eps(),
        tiff(),
        bundles.png(255, 0)[:48],
        bundles.png(0, 0, size=4)[:16] + b"\x00\x00\xff\xff\x00\x00\xff\xff" + bundles.png(0, 0)[24:],
    ],
)
def test_what_is_no_image_is_named_by_its_index(stage: Stage, image: bytes) -> None:
    good = {"image": base64.b64encode(bundles.png(255, 0)).decode()}
    reply = stage.predict([good, {"image": base64.b64encode(image).decode()}], "colours")
    assert code_of(reply, 422) == "input_invalid"
    assert reply.json()["error"]["params"] == {"index": 1}


@pytest.mark.parametrize("text", ["http://127.0.0.3/x.png", "file:///etc/passwd", "/etc/passwd", "%%%"])
def test_an_address_is_no_image(stage: Stage, text: str) -> None:
    reply = stage.predict([{"image": text}], "colours")
    assert code_of(reply, 422) == "input_invalid"
    assert reply.json()["error"]["params"] == {"index": 0}


def test_requests_over_the_keys_rate_are_429_and_retry_after_is_true(stage: Stage) -> None:
    key = stage.control.add_key(rate_limit=2.0)
    stage.control.publish()
    replies = [stage.predict(["good"], key=key) for _ in range(4)]
    assert [reply.status_code for reply in replies][:2] == [200, 200]
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert code_of(refused, 429) == "rate_limited"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert [int(reply.headers["x-ratelimit-remaining"]) for reply in replies[:2]] == [1, 0]
    assert stage.record(refused)["key"] is not None
    wait_s = int(refused.headers["retry-after"])
    end = time.monotonic() + wait_s
    until(lambda: time.monotonic() > end)
    assert stage.predict(["good"], key=key).status_code == 200


def test_the_endpoints_rate_holds_over_all_keys(stage: Stage, bundle_folder: Path) -> None:
    stage.control.add_route("slow", bundle_folder / "text.zip", rate_limit=0.5)
    keys = [stage.control.add_key() for _ in range(2)]
    stage.control.publish()
    until(lambda: stage.client.get("/v2/models/slow/ready", headers=stage.auth).status_code == 200)
    assert [stage.predict(["good"], "slow", key).status_code for key in keys] == [200, 429]


def test_a_team_without_requests_left_is_429_until_next_month(stage: Stage, bundle_folder: Path) -> None:
    team = new_id("tem")
    stage.control.teams[team] = TeamQuota(requests_left=3)
    stage.control.add_route("metered", bundle_folder / "text.zip", team=team)
    key = stage.control.add_key(team=team)
    stage.control.publish()
    until(lambda: stage.client.get("/v2/models/metered/ready", headers={"Authorization": f"Bearer {key}"}).is_success)
    # What is refused does not use the quota up.
    assert stage.predict([""], "metered", key).status_code == 422
    replies = [stage.predict(["good"], "metered", key) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["x-ratelimit-remaining"] for reply in replies] == ["2", "1", "0", "0"]
    assert [reply.headers.get("x-quota-remaining") for reply in replies[:3]] == ["2", "1", "0"]
    assert code_of(replies[-1], 429) == "quota_exceeded"
    assert 0 < int(replies[-1].headers["retry-after"]) <= 31 * 86_400


def test_an_endpoint_and_a_key_have_quotas_of_their_own(stage: Stage, bundle_folder: Path) -> None:
    control = stage.control
    route = control.add_route("capped", bundle_folder / "text.zip")
    key_id = new_id("key")
    capped, free = control.add_key(key=key_id), control.add_key()
    control.requests_left = {route.endpoint: 4, key_id: 2}
    control.publish()
    until(lambda: stage.client.get("/v2/models/capped/ready", headers=stage.auth).is_success)
    assert stage.predict([""], "capped", capped).status_code == 422
    assert [stage.predict(["good"], "capped", capped).status_code for _ in range(3)] == [200, 200, 429]
    assert stage.predict(["good"], "reviews", capped).status_code == 429
    replies = [stage.predict(["good"], "capped", free) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert code_of(replies[-1], 429) == "quota_exceeded"
    assert stage.predict(["good"], "reviews", free).status_code == 200


def test_nothing_inside_shows_in_any_error(stage: Stage) -> None:
    texts = []
    for content in (b"{", b"[]", b'{"inputs": [{}]}', b"\x00" * 100):
        for kind in ("application/json", "image/png", "multipart/form-data; boundary=x", "a" * 300):
            for slug in ("reviews", "colours", "nothing"):
                headers = {**stage.auth, "Content-Type": kind}
                texts.append(stage.client.post(f"/v1/endpoints/{slug}/predict", content=content, headers=headers).text)
    for text in texts:
        assert not re.search(r"Traceback|/work|/tmp|\.py|slipway:|redis|jobs/job_|site-packages", text, re.I), text
