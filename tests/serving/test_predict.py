"""What a client sends and gets."""

import base64

from tests.serving import bundles
from tests.serving.conftest import Stage


def test_texts_are_answered_in_order(stage: Stage) -> None:
    reply = stage.predict(["good film", "bad film", "good bad good"])
    assert reply.status_code == 200
    body = reply.json()
    assert [p["label"] for p in body["predictions"]] == ["positive", "negative", "positive"]
    assert body["predictions"][0]["score"] == body["predictions"][0]["scores"]["positive"] > 0.9
    assert body["model"] == {"id": stage.text.revisions[0].model, "number": 1}
    assert body["request_id"] == reply.headers["x-request-id"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert int(reply.headers["x-ratelimit-remaining"]) > 0


def test_an_image_is_taken_as_a_file_as_several_files_and_in_base64(stage: Stage) -> None:
    address, key = "/v1/endpoints/colours/predict", {"Authorization": f"Bearer {stage.key}"}
    red, blue = bundles.png(255, 0), bundles.png(0, 255)
    one = stage.client.post(address, content=red, headers={**key, "Content-Type": "image/png"})
    assert [p["label"] for p in one.json()["predictions"]] == ["red"]
    files = [("file", ("a.png", blue, "image/png")), ("file", ("b.png", red, "image/png"))]
    several = stage.client.post(address, files=files, headers=key)
    assert [p["label"] for p in several.json()["predictions"]] == ["blue", "red"]
    encoded = stage.predict([{"image": base64.b64encode(blue).decode()}], "colours")
    assert [p["label"] for p in encoded.json()["predictions"]] == ["blue"]


def test_an_answer_is_in_the_stream_before_it_leaves(stage: Stage) -> None:
    reply = stage.predict(["good", "bad"])
    record = stage.record(reply)
    assert record["request_id"] == reply.json()["request_id"]
    assert (record["status"], record["items"], record["code"]) == (200, 2, None)
    assert record["endpoint"] == stage.text.endpoint and record["team"] == stage.control.team
    assert record["revision"] == stage.text.revisions[0].revision
    assert record["bytes_in"] == len(reply.request.content) and record["bytes_out"] == len(reply.content)
    assert 0 < record["compute_us"] < record["latency_us"] < 5_000_000


def test_an_endpoint_says_what_it_takes(stage: Stage) -> None:
    reply = stage.client.get("/v1/endpoints/reviews", headers={"Authorization": f"Bearer {stage.key}"})
    described = reply.json()
    assert reply.status_code == 200
    assert described["labels"] == bundles.TEXT_LABELS
    answer = stage.predict(described["example"]["request"]["inputs"]).json()
    assert answer["predictions"] == described["example"]["reply"]["predictions"]


def test_health_needs_no_key(stage: Stage) -> None:
    for path in ("/healthz", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready"):
        assert stage.client.get(path).status_code == 200


def test_items_are_ranked_for_users_and_for_items(stage: Stage) -> None:
    inputs = [{"user": "u1", "k": 2}, {"items": ["b", "c"], "k": 3}, {"user": "nobody", "k": 1}, {"user": "u1", "k": 2}]
    known, items, stranger, again = stage.predict(inputs, "shop").json()["predictions"]
    assert [entry["item"] for entry in known["items"]] == ["b", "c"] and known == again
    assert [entry["item"] for entry in items["items"]] == ["d", "e", "a"]
    assert stranger == {"items": [{"item": "a", "score": 0.6}], "fallback": "popularity"}
    seen = stage.predict([{"user": "u1", "k": 6, "exclude_seen": False}], "shop").json()["predictions"][0]["items"]
    assert {entry["item"] for entry in seen} == set("abcdef")


def test_a_bad_query_for_items_is_named(stage: Stage) -> None:
    for query in ({"user": "u1", "k": 0}, {"user": "u1", "items": ["a"]}, {}, {"user": 7.5}, {"items": []}, {"k": 3}):
        reply = stage.predict([{"user": "u1"}, query], "shop")
        assert reply.status_code == 422 and reply.json()["error"]["params"] == {"index": 1}, query
