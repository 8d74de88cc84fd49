"""Feedback: taken from whoever may predict, kept for the recorder."""

import json
from typing import Any

import pytest

from tests.serving.conftest import Stage
from workers.contracts import names

FEEDBACK = "/v1/endpoints/reviews/feedback"


def test_feedback_goes_into_its_stream_with_the_keys_own_names(stage: Stage) -> None:
    answered = stage.predict(["good", "bad"]).json()
    said = {"request_id": answered["request_id"], "index": 1, "label": "positive"}
    reply = stage.client.post(FEEDBACK, json=said, headers=stage.auth)
    assert reply.status_code == 202 and reply.json()["accepted"] is True
    _, fields = stage.control.client.xrevrange(names.STREAM_FEEDBACK, count=1)[0]
    record = json.loads(fields[b"r"])
    assert {name: record[name] for name in said} == said
    assert (record["team"], record["endpoint"]) == (stage.control.team, stage.text.endpoint)


def test_whether_a_request_is_known_does_not_show(stage: Stage) -> None:
    replies = [
        stage.client.post(FEEDBACK, json={"request_id": request_id, "label": "x"}, headers=stage.auth)
        for request_id in (stage.predict(["good"]).json()["request_id"], "0" * 24)
    ]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json().keys() == replies[1].json().keys()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"request_id": "0" * 24},
        {"label": "x"},
        {"request_id": "0" * 24, "label": ""},
        {"request_id": "0" * 24, "label": "x" * 401},
        {"request_id": "0" * 24, "label": "x", "index": -1},
        {"request_id": "0" * 24, "label": "x", "index": "0"},
        {"request_id": "0" * 24, "label": "x", "team": "mine"},
        {"request_id": "a/../b", "label": "x"},
        {"request_id": "0" * 24, "label": "a\x00b"},
        ["x"],
    ],
)
def test_what_is_no_feedback_is_422(stage: Stage, body: Any) -> None:
    reply = stage.client.post(FEEDBACK, json=body, headers=stage.auth)
    assert reply.status_code == 422 and reply.json()["error"]["code"] == "invalid"


def test_feedback_needs_a_key_for_the_endpoint(stage: Stage) -> None:
    said = {"request_id": "0" * 24, "label": "x"}
    assert stage.client.post(FEEDBACK, json=said).status_code == 401
    key = stage.control.add_key(endpoints=[stage.image.endpoint])
    stage.control.publish()
    assert stage.client.post(FEEDBACK, json=said, headers={"Authorization": f"Bearer {key}"}).status_code == 403
    large = {**said, "label": "x" * 20_000}
    assert stage.client.post(FEEDBACK, json=large, headers=stage.auth).status_code == 413
