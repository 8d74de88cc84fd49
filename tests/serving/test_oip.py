"""The Open Inference Protocol: NVIDIA's client unchanged, and hostile bodies."""

import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.serving import bundles
from tests.serving.conftest import Stage

INFER = "/v2/models/reviews/infer"


@pytest.fixture
def client(stage: Stage) -> Iterator[triton.InferenceServerClient]:
    """tritonclient as it comes."""
    with triton.InferenceServerClient(f"127.0.0.1:{stage.serving.port}") as client:
        yield client


def tensor(name: str, values: list[bytes], *, binary: bool) -> triton.InferInput:
    """A BYTES tensor of one dimension."""
    made = triton.InferInput(name, [len(values)], "BYTES")
    made.set_data_from_numpy(np.array(values, dtype=object), binary_data=binary)
    return made


def test_health_and_metadata(stage: Stage, client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.is_model_ready("reviews", headers=stage.auth)
    metadata = client.get_model_metadata("reviews", headers=stage.auth)
    assert metadata["name"] == "reviews" and metadata["versions"] == ["1"]
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in metadata["outputs"]] == ["label", "score", "scores"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_texts(stage: Stage, client: triton.InferenceServerClient, binary_in: bool, binary_out: bool | None) -> None:
    outputs = None
    if binary_out is not None:
        outputs = [triton.InferRequestedOutput(n, binary_data=binary_out) for n in ("label", "score", "scores")]
    sent = tensor("text", [b"good film", b"bad"], binary=binary_in)
    result = client.infer("reviews", [sent], outputs=outputs, headers=stage.auth, request_id="mine-1")
    labels = [value.decode() if isinstance(value, bytes) else value for value in result.as_numpy("label")]
    assert labels == ["positive", "negative"]
    scores = result.as_numpy("scores")
    assert scores.shape == (2, 2) and scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(result.as_numpy("score"), scores.max(axis=1))
    head = result.get_response()
    assert head["id"] == "mine-1" and head["model_name"] == "reviews" and head["model_version"] == "1"
    plain = stage.predict(["good film", "bad"]).json()["predictions"]
    np.testing.assert_allclose([p["score"] for p in plain], result.as_numpy("score"), atol=1e-6)


def test_a_version_may_be_named(stage: Stage, client: triton.InferenceServerClient) -> None:
    sent = [tensor("text", [b"good"], binary=True)]
    for _ in range(3):  # a head that comes again is known
        result = client.infer("reviews", sent, model_version="1", headers=dict(stage.auth))
        assert result.get_response()["model_version"] == "1"
        with pytest.raises(InferenceServerException) as caught:
            client.infer("reviews", sent, model_version="7", headers=dict(stage.auth))
        assert caught.value.status() == "404"
    assert client.is_model_ready("reviews", "1", headers=stage.auth)
    assert not client.is_model_ready("reviews", "7", headers=stage.auth)
    assert client.get_model_metadata("reviews", "1", headers=stage.auth)["versions"] == ["1"]


def test_images_as_files(stage: Stage, client: triton.InferenceServerClient) -> None:
    sent = tensor("image", [bundles.png(255, 0), bundles.png(0, 255)], binary=True)
    result = client.infer("colours", [sent], headers=stage.auth)
    assert list(result.as_numpy("label")) == [b"red", b"blue"]


def test_one_output_may_be_asked_for(stage: Stage, client: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("label")]
    result = client.infer("reviews", [tensor("text", [b"good"], binary=True)], outputs=wanted, headers=stage.auth)
    assert result.as_numpy("scores") is None and list(result.as_numpy("label")) == [b"positive"]


def test_errors_are_what_the_client_understands(stage: Stage, client: triton.InferenceServerClient) -> None:
    sent = [tensor("text", [b"good"], binary=True)]
    for model, headers, status in (("reviews", {}, "401"), ("nothing", stage.auth, "404")):
        with pytest.raises(InferenceServerException) as caught:
            client.infer(model, sent, headers=headers)
        assert caught.value.status() == status
        assert str(caught.value).startswith(f"[{status}]")
    with pytest.raises(InferenceServerException, match="text is empty"):
        client.infer("reviews", [tensor("text", [b" "], binary=True)], headers=stage.auth)


def test_infer_is_metered(stage: Stage) -> None:
    body = {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["good", "bad"]}]}
    reply = stage.client.post(INFER, json=body, headers=stage.auth)
    assert reply.status_code == 200 and int(reply.headers["x-ratelimit-remaining"]) > 0
    assert stage.record(reply)["items"] == 2


def infer(stage: Stage, head: Any, binary: bytes = b"", **headers: str) -> httpx.Response:
    """A raw infer request."""
    text = json.dumps(head).encode()
    sent = {**stage.auth, **({"Inference-Header-Content-Length": str(len(text))} if binary else {}), **headers}
    return stage.client.post(INFER, content=text + binary, headers=sent)


def text_tensor(**changes: Any) -> dict[str, Any]:
    """An infer request's head with one text, changed."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"], **changes}
    return {"inputs": [{name: value for name, value in tensor.items() if value is not None}]}


GOOD = struct.pack("<I", 4) + b"good"


@pytest.mark.parametrize(
    "head",
    [
        text_tensor(shape=[2147483648, 2147483648]),
        text_tensor(shape=[-1]),
        text_tensor(shape=[0]),
        text_tensor(shape=[2]),
        text_tensor(shape=[True]),
        text_tensor(shape=[1.0]),
        text_tensor(shape=[]),
        text_tensor(shape=[1] * 9),
        text_tensor(shape="1"),
        text_tensor(datatype="FP32"),
        text_tensor(data=[1]),
        text_tensor(data="good"),
        text_tensor(parameters={"shared_memory_region": "x"}),
        text_tensor(parameters={"binary_data_size": 4}),
        text_tensor(parameters=[]),
        {"inputs": []},
        {"inputs": [{}, {}]},
        {"inputs": "text"},
        [],
        {**text_tensor(), "id": 7},
        {**text_tensor(), "outputs": [{"name": "secret"}]},
        {**text_tensor(), "outputs": "label"},
        {**text_tensor(), "outputs": [{"name": "label", "parameters": {"classification": 2}}]},
        {**text_tensor(), "parameters": {"shared_memory_region": "x"}},
    ],
)
def test_a_strange_tensor_is_422(stage: Stage, head: Any) -> None:
    started = time.monotonic()
    reply = infer(stage, head)
    assert reply.status_code == 422, reply.text
    assert time.monotonic() - started < 1
    assert infer(stage, text_tensor()).status_code == 200


@pytest.mark.parametrize(
    ("size", "binary", "status"),
    [
        (len(GOOD), GOOD, 200),
        (len(GOOD) + 1, GOOD, 422),
        (len(GOOD) - 1, GOOD, 422),
        (-1, GOOD, 422),
        ("8", GOOD, 422),
        (4, struct.pack("<I", 0xFFFFFFFF), 422),
        (7, struct.pack("<I", 4) + b"goo", 422),
        (3, b"\x01\x00\x00", 422),
        (len(GOOD) * 2, GOOD * 2, 422),
        (8, struct.pack("<I", 4) + b"\xff\xff\xff\xff", 422),
    ],
)
def test_binary_data_has_to_fit(stage: Stage, size: Any, binary: bytes, status: int) -> None:
    head = text_tensor(data=None, parameters={"binary_data_size": size})
    assert infer(stage, head, binary).status_code == status


@pytest.mark.parametrize("length", ["-1", "99999999999999999999", "1e3", "abc", "500", "+5"])
def test_a_wrong_header_length_is_400(stage: Stage, length: str) -> None:
    assert infer(stage, text_tensor(), **{"Inference-Header-Content-Length": length}).status_code == 400


def test_three_megabytes_in_tiny_chunks_are_read(stage: Stage) -> None:
    """Many small pieces cost time in proportion, no more."""
    body = json.dumps(text_tensor(data=["good " * 200_000])).encode()
    pieces = (body[at : at + 64] for at in range(0, len(body), 64))
    reply = stage.client.post(INFER, content=pieces, headers=stage.auth)
    assert reply.status_code == 200, reply.text


def test_users_get_items(stage: Stage, client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata("shop", headers=stage.auth)
    assert [tensor["name"] for tensor in metadata["inputs"] + metadata["outputs"]] == ["user", "items", "score"]
    sent = tensor("user", [b"u1", b"nobody"], binary=True)
    result = client.infer("shop", [sent], headers=stage.auth, parameters={"k": 2})
    assert result.as_numpy("items").tolist() == [[b"b", b"c"], [b"a", b"b"]]
    np.testing.assert_allclose(result.as_numpy("score"), [[2, 1], [0.6, 0.5]], atol=1e-6)
