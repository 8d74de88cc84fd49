"""Explanations on request: what decided the answer stands out, and they cost and are bounded as they say."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving import bundles
from tests.serving.conftest import Stage
from tests.serving.running import until
from workers.inference import runtime
from workers.inference.explain import MAX_ASKED, MAX_EXPLAINED, explain, word_spans
from workers.serving.explaining import questions


def ask(stage: Stage, body: dict[str, Any], slug: str = "reviews") -> Any:
    return stage.client.post(f"/v1/endpoints/{slug}/predict", json=body, headers=stage.auth)


def explained(stage: Stage, inputs: list[Any], slug: str = "reviews") -> list[dict[str, Any]]:
    reply = ask(stage, {"inputs": inputs, "explain": True}, slug)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["predictions"]
    return found


def test_the_word_that_decided_weighs_most_and_one_against_it_weighs_negative(stage: Stage) -> None:
    text = "A film: good, good — but bad!"
    (answer,) = explained(stage, [text])
    assert answer["label"] == "positive"
    words = answer["explanation"]["words"]
    assert [word["text"] for word in words] == ["A", "film", ":", "good", ",", "good", "—", "but", "bad", "!"]
    assert all(text[word["start"] : word["end"]] == word["text"] for word in words)
    weight = {word["text"]: word["weight"] for word in words}
    # The toy's weights are known: "good" is 4 of the log-odds, "bad" -4, all else nothing.
    assert weight["good"] == pytest.approx(4, abs=0.01) and weight["bad"] == pytest.approx(-4, abs=0.01)
    assert weight["film"] == weight["but"] == pytest.approx(0, abs=0.01)
    assert answer["explanation"]["label"] == "positive"


def test_without_the_wish_there_is_no_explanation_and_with_it_the_same_prediction(stage: Stage) -> None:
    plain = stage.predict(["good film", "bad"]).json()["predictions"]
    refused = ask(stage, {"inputs": ["good film", "bad"], "explain": False}).json()["predictions"]
    wished = explained(stage, ["good film", "bad"])
    assert plain == refused and "explanation" not in plain[0]
    assert [{**one, "explanation": None} for one in plain] == [{**one, "explanation": None} for one in wished]
    assert [one["explanation"]["words"][0]["text"] for one in wished] == ["good", "bad"]


def quarters(*colours: tuple[int, int, int]) -> dict[str, str]:
    """An image of four squares, as an input."""
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    for place, colour in enumerate(colours):
        row, column = divmod(place, 2)
        pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = colour
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return {"image": base64.b64encode(out.getvalue()).decode()}


def test_the_part_of_an_image_that_decided_is_the_hottest(stage: Stage) -> None:
    black, red, blue = (0, 0, 0), (255, 0, 0), (0, 0, 120)
    (answer,) = explained(stage, [quarters(black, black, blue, red)], "colours")
    heat = answer["explanation"]
    weights = np.array(heat["weights"])
    assert answer["label"] == heat["label"] == "red"
    assert heat["grid"] == list(weights.shape) and weights.shape[0] >= 4
    half = weights.shape[0] // 2
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    assert row >= half and column >= half
    # Blue speaks against red: taking it away helps.
    row, column = np.unravel_index(weights.argmin(), weights.shape)
    assert row >= half and column < half and weights.min() < 0


def test_a_recommended_item_names_the_items_of_the_history_that_led_to_it(stage: Stage) -> None:
    answers = explained(stage, [{"items": ["a", "d"], "k": 3}, {"user": "u1", "k": 1}, {"user": "nobody"}], "shop")
    # Who knows an item is offered the next one first (2) and the one after (1).
    because = {entry["item"]: entry["because"] for entry in answers[0]["explanation"]["items"]}
    assert because["b"] == [{"item": "a", "weight": 2.0}] and because["e"] == [{"item": "d", "weight": 2.0}]
    assert [entry["item"] for entry in answers[0]["items"]] == list(because)
    assert answers[1]["explanation"]["items"] == [{"item": "b", "because": [{"item": "a", "weight": 2.0}]}]
    assert answers[2]["fallback"] == "popularity"
    assert all(entry["because"] == [] for entry in answers[2]["explanation"]["items"])


def test_every_question_to_the_model_is_metered(stage: Stage) -> None:
    reply = ask(stage, {"inputs": ["good film", "so bad it is good"], "explain": True})
    record = stage.record(reply)
    # Two inputs; then each once more as it is, and once without each of its 2 and 6 words.
    assert (record["status"], record["items"]) == (200, 2 + 2 + 2 + 5)
    assert record["compute_us"] > 0


def test_a_model_that_predicts_in_a_thread_explains_too(stage: Stage, bundle_folder: Path) -> None:
    stage.control.add_route("slow-colours", bundle_folder / "dear.zip", kind="image")
    stage.control.publish()
    red = quarters((255, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0))
    body = {"inputs": [red], "explain": True}
    reply = until(lambda: (found := ask(stage, body, "slow-colours")).status_code == 200 and found)
    heat = reply.json()["predictions"][0]["explanation"]
    assert np.array(heat["weights"]).argmax() == 0


def test_a_client_that_gives_too_little_time_gets_no_late_explanation(stage: Stage, bundle_folder: Path) -> None:
    stage.control.add_route("hasty-colours", bundle_folder / "dear.zip", kind="image")
    stage.control.publish()
    red, address = quarters((255, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)), "/v1/endpoints/hasty-colours/predict"
    until(lambda: ask(stage, {"inputs": [red]}, "hasty-colours").status_code == 200)
    hasty = {**stage.auth, "X-Timeout-Ms": "5"}
    reply = stage.client.post(address, json={"inputs": [red] * 8, "explain": True}, headers=hasty)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "deadline_exceeded")
    assert stage.record(reply)["items"] == 0


@pytest.mark.parametrize("value", ["yes", 1, None, {}, [True]])
def test_any_other_wish_is_refused(stage: Stage, value: Any) -> None:
    reply = ask(stage, {"inputs": ["good"], "explain": value})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "input_invalid")
    assert "explain" in reply.json()["error"]["message"]
    assert stage.record(reply)["items"] == 0


def test_bounds_are_told_and_kept(stage: Stage) -> None:
    described = stage.client.get("/v1/endpoints/reviews", headers=stage.auth).json()
    assert described["explain"] is True
    assert described["limits"]["explained_inputs"] == MAX_EXPLAINED
    too_many = ask(stage, {"inputs": ["good"] * (MAX_EXPLAINED + 1), "explain": True})
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (422, "too_many_inputs")
    assert too_many.json()["error"]["params"] == {"limit": MAX_EXPLAINED}
    long = " ".join(["so"] * 150 + ["good"] + ["film"] * 100)
    reply = ask(stage, {"inputs": [long] * MAX_EXPLAINED, "explain": True})
    assert stage.record(reply)["items"] <= MAX_EXPLAINED + MAX_ASKED
    words = reply.json()["predictions"][0]["explanation"]["words"]
    # Neighbours share a weight; together they are still the whole text.
    assert " ".join(word["text"] for word in words) == long


@pytest.fixture
def text_predictor(tmp_path: Path) -> Iterator[Any]:
    import zipfile

    with zipfile.ZipFile(bundles.text_bundle(tmp_path / "text.zip")) as archive:
        archive.extractall(tmp_path / "text")
    yield runtime.load(tmp_path / "text")


def test_dear_models_are_asked_less() -> None:
    assert questions(0.001, 1) == questions(0.5, 8) == MAX_ASKED
    assert questions(8.0, 1) == 64 and questions(1000.0, 1) < 20
    assert questions(1000.0, MAX_EXPLAINED) >= 2 * MAX_EXPLAINED


def test_it_stops_when_it_is_told_to(text_predictor: Any) -> None:
    items = text_predictor.parse(["good " * 200])
    asked = 0

    def stop_at_third() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        explain(text_predictor, items, text_predictor.predict(items), stop_at_third)
    assert asked == 3


@pytest.mark.parametrize(
    "text", ["good", "我很喜欢good电影", "don't stop 👍🏽👍🏽", "हिन्दी में अच्छा", "!!!", "  a\tb\x00c  "]
)
def test_texts_of_all_scripts_fall_into_words(text_predictor: Any, text: str) -> None:
    spans = word_spans(text)
    assert spans and all(text[start:end].strip() for start, end in spans)
    covered = "".join(text[start:end] for start, end in spans)
    assert covered == "".join(c for c in text if not c.isspace() and c != "\x00")
    items = text_predictor.parse([text])
    words = explain(text_predictor, items, text_predictor.predict(items)).explanations[0]["words"]
    assert [word["text"] for word in words] == [text[start:end] for start, end in spans]


def test_words_are_those_that_a_reader_sees() -> None:
    def words(text: str) -> list[str]:
        return [text[start:end] for start, end in word_spans(text)]

    assert words("Don't stop, no. 7!") == ["Don't", "stop", ",", "no", ".", "7", "!"]
    assert words("新しいfilm") == ["新", "し", "い", "film"]
    assert words("हिन्दी 👍🏽") == ["हिन्दी", "👍🏽"]
