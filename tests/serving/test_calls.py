"""What a client may say of its call beside the inputs: packed bodies, how long it waits, that it may come twice."""

import gzip
import json

import httpx
import numpy as np
import pytest
import tritonclient.http

from tests.serving import bundles
from tests.serving.conftest import Stage

PREDICT = "/v1/endpoints/reviews/predict"


def _call(stage: Stage, inputs: list[str], **headers: str) -> httpx.Response:
    return stage.client.post(PREDICT, json={"inputs": inputs}, headers={**stage.auth, **headers})


def test_a_gzip_body_is_unpacked(stage: Stage) -> None:
    body = gzip.compress(json.dumps({"inputs": ["good film"]}).encode())
    headers = {**stage.auth, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    reply = stage.client.post(PREDICT, content=body, headers=headers)
    assert reply.json()["predictions"][0]["label"] == "positive"


def test_a_gzip_multipart_body_is_unpacked(stage: Stage) -> None:
    red = bundles.png(255, 0)
    form = httpx.Request("POST", "http://x", files={"file": ("a.png", red, "image/png")})
    headers = {**stage.auth, "Content-Type": form.headers["content-type"], "Content-Encoding": "gzip"}
    reply = stage.client.post("/v1/endpoints/colours/predict", content=gzip.compress(form.read()), headers=headers)
    assert [p["label"] for p in reply.json()["predictions"]] == ["red"]


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "deflate, GZIP"])
def test_a_long_answer_is_packed_for_those_who_take_that(stage: Stage, accepted: str) -> None:
    reply = _call(stage, ["good"] * 100, **{"Accept-Encoding": accepted})
    assert reply.headers["content-encoding"] == "gzip"
    assert len(reply.json()["predictions"]) == 100
    assert stage.record(reply)["bytes_out"] == int(reply.headers["content-length"]) < len(reply.content)


@pytest.mark.parametrize("accepted", ["identity", "br", "gzip;q=0", "gzip;q=0.000, identity"])
def test_an_answer_is_left_plain_for_those_who_do_not(stage: Stage, accepted: str) -> None:
    assert "content-encoding" not in _call(stage, ["good"] * 100, **{"Accept-Encoding": accepted}).headers


def test_a_triton_client_may_pack_both_ways(stage: Stage) -> None:
    with tritonclient.http.InferenceServerClient(stage.serving.url.removeprefix("http://")) as client:
        texts = np.array([b"good film"] * 50, dtype=object)
        tensor = tritonclient.http.InferInput("text", [50], "BYTES")
        tensor.set_data_from_numpy(texts)
        found = client.infer(
            "reviews",
            [tensor],
            headers=stage.auth,
            request_compression_algorithm="gzip",
            response_compression_algorithm="gzip",
        )
    assert set(found.as_numpy("label")) <= {b"positive", "positive"}


def test_a_repeated_call_is_answered_from_memory_and_counted_once(stage: Stage) -> None:
    first = _call(stage, ["good"], **{"Idempotency-Key": "one"})
    again = _call(stage, ["good"], **{"Idempotency-Key": "one"})
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    ids = [record["request_id"] for record in stage.control.records()]
    assert ids.count(first.json()["request_id"]) == 1
    assert again.headers["x-request-id"] not in ids


def test_an_idempotency_key_is_for_one_question_of_one_client(stage: Stage) -> None:
    _call(stage, ["good"], **{"Idempotency-Key": "two"})
    other = _call(stage, ["bad"], **{"Idempotency-Key": "two"})
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    second_key = stage.control.add_key()
    stage.control.publish()
    somebody = _call(stage, ["bad"], **{"Idempotency-Key": "two", "Authorization": f"Bearer {second_key}"})
    assert somebody.status_code == 200 and "idempotency-replayed" not in somebody.headers


def test_a_call_that_failed_may_come_again_with_its_key(stage: Stage) -> None:
    bad = stage.client.post(PREDICT, json={"inputs": [5]}, headers={**stage.auth, "Idempotency-Key": "three"})
    assert bad.status_code == 422
    assert _call(stage, ["good"], **{"Idempotency-Key": "three"}).status_code == 200


@pytest.mark.parametrize("sent", ["0", "-1", "soon", "1.5", "600001", "9" * 400])
def test_a_timeout_that_is_none_is_400(stage: Stage, sent: str) -> None:
    assert _call(stage, ["good"], **{"X-Timeout-Ms": sent}).status_code == 400
