"""Models whose inputs may have several labels, or none: served, asked for in tensors, answered, told about, batched."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from tests.serving import bundles
from tests.serving.conftest import Stage, staged
from tests.serving.test_oip import tensor
from workers.batch.answers import answers_for
from workers.contracts import names
from workers.serving.bundles import open_bundle

# "good film" is positive to 0.98, "film" is neither more nor less.
THRESHOLDS = [0.3, 0.6]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, redis_server: str, bundle_folder: Path) -> Iterator[Stage]:
    made = bundles.text_bundle(tmp_path_factory.mktemp("bundle") / "several.zip", thresholds=THRESHOLDS)
    home = tmp_path_factory.mktemp("serving")
    with staged(home, redis_server, bundle_folder, lambda control: control.add_route("topics", made)) as running:
        yield running


def test_all_labels_that_reach_their_threshold_are_answered(stage: Stage) -> None:
    found = stage.predict(["good film", "bad", "film"], slug="topics").json()["predictions"]
    assert [one["labels"] for one in found] == [["positive"], ["negative"], ["negative"]]
    assert [one["label"] for one in found] == ["positive", "negative", "negative"]
    assert found[2]["scores"] == {"negative": 0.5, "positive": 0.5}


def test_tensors_hold_the_labels_filled_up_with_empty_ones(stage: Stage) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{stage.serving.port}") as client:
        metadata = client.get_model_metadata("topics", headers=stage.auth)
        assert metadata["outputs"][0] == {"name": "labels", "datatype": "BYTES", "shape": [-1, -1]}
        sent = tensor("text", [b"good film", b"film"], binary=True)
        found = client.infer("topics", [sent], headers=stage.auth).as_numpy("labels")
    assert [[value.decode() for value in row] for row in found] == [["positive"], ["negative"]]


def test_feedback_names_all_right_labels(stage: Stage) -> None:
    request_id = stage.predict(["good film"], slug="topics").json()["request_id"]
    address = "/v1/endpoints/topics/feedback"
    for labels in (["positive", "negative"], []):
        said = {"request_id": request_id, "labels": labels}
        assert stage.client.post(address, json=said, headers=stage.auth).status_code == 202
        _, fields = stage.control.client.xrevrange(names.STREAM_FEEDBACK, count=1)[0]
        assert json.loads(fields[b"r"])["labels"] == labels
    both = {"request_id": request_id, "labels": ["positive"], "label": "positive"}
    assert stage.client.post(address, json=both, headers=stage.auth).status_code == 422


def test_an_explanation_is_of_the_strongest_label(stage: Stage) -> None:
    body = {"inputs": ["good film"], "explain": True}
    reply = stage.client.post("/v1/endpoints/topics/predict", json=body, headers=stage.auth)
    explained = reply.json()["predictions"][0]["explanation"]
    assert explained["label"] == "positive"
    assert max(explained["words"], key=lambda word: word["weight"])["text"] == "good"


def test_a_file_of_answers_has_a_column_of_labels(tmp_path: Path) -> None:
    bundle = bundles.text_bundle(tmp_path / "several.zip", thresholds=THRESHOLDS)
    answers = answers_for(open_bundle(bundle).predictor, scores=True, taken=["label"])
    assert answers.names == ["labels", "predicted_label", "score", "score_negative", "score_positive", "error"]
    scores = np.array([[0.35, 0.65], [0.2, 0.5], [0.9, 0.1]], np.float32)
    frame, labels = answers.columns(scores, {2: "no"})
    assert frame.rows() == [
        (["positive", "negative"], "positive", 0.65, 0.35, 0.65, None),
        ([], "positive", 0.5, 0.2, 0.5, None),
        (None, None, None, None, None, "no"),
    ]
    assert labels == {"positive": 1, "negative": 1}
