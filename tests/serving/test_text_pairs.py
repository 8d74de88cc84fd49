"""Models of pairs of texts: asked, refused, explained, told about, in tensors, by file."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.batch.predicting import finish, job, output
from tests.serving import bundles
from tests.serving.conftest import Stage, staged
from tests.serving.test_oip import tensor
from workers.contracts.errors import JobError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.pair_bundle(tmp_path_factory.mktemp("bundle") / "pairs.zip")


@pytest.fixture(scope="module")
def stage(
    tmp_path_factory: pytest.TempPathFactory, redis_server: str, bundle_folder: Path, bundle: Path
) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("serving")
    with staged(home, redis_server, bundle_folder, lambda control: control.add_route("pairs", bundle)) as running:
        yield running


def pair(text: Any, other: Any) -> dict[str, Any]:
    return {"text": text, "text_pair": other}


def test_both_texts_count(stage: Stage) -> None:
    asked = [pair("film", "good"), pair("bad", "film"), pair("good", "bad")]
    found = stage.predict(asked, slug="pairs").json()["predictions"]
    assert [one["label"] for one in found[:2]] == ["positive", "negative"] and found[2]["score"] == 0.5


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("good film", "text_pair"),
        ({"text": "good"}, "text_pair"),
        ({"text_pair": "good"}, "text_pair"),
        (pair("good", " "), "text_pair is empty"),
        (pair("", "good"), "text is empty"),
        (pair("good", 1), "text_pair is expected"),
        (pair("good", "bad") | {"more": "film"}, "text_pair"),
    ],
)
def test_half_a_pair_is_refused_by_its_place(stage: Stage, bad: Any, said: str) -> None:
    reply = stage.predict([pair("good", "film"), bad], slug="pairs")
    error = reply.json()["error"]
    assert (reply.status_code, error["params"]) == (422, {"index": 1}) and said in error["message"]


def test_a_model_of_single_texts_refuses_pairs(stage: Stage) -> None:
    reply = stage.predict([pair("good", "film")])
    assert reply.status_code == 422 and "has no text_pair" in reply.json()["error"]["message"]
    assert stage.predict([{"text": "good"}]).status_code == 200


def test_an_explanation_says_in_which_text_a_word_is(stage: Stage) -> None:
    body = {"inputs": [pair("a film", "a good film")], "explain": True}
    reply = stage.client.post("/v1/endpoints/pairs/predict", json=body, headers=stage.auth)
    words = reply.json()["predictions"][0]["explanation"]["words"]
    best = max(words, key=lambda word: word["weight"])
    assert (best["input"], best["text"], best["start"]) == ("text_pair", "good", 2)
    assert [word["text"] for word in words if word["input"] == "text"] == ["a", "film"]


def test_the_description_shows_a_pair(stage: Stage) -> None:
    told = stage.client.get("/v1/endpoints/pairs", headers=stage.auth).json()
    assert told["example"]["request"]["inputs"] == [pair("good film", "film")]


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_of_texts_and_their_pairs(stage: Stage, binary: bool) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{stage.serving.port}") as client:
        metadata = client.get_model_metadata("pairs", headers=stage.auth)
        assert [one["name"] for one in metadata["inputs"]] == ["text", "text_pair"]
        texts = tensor("text", [b"film", b"bad film"], binary=binary)
        others = tensor("text_pair", [b"good film", b"film"], binary=binary)
        for sent in ([texts, others], [others, texts]):
            found = client.infer("pairs", sent, headers=stage.auth).as_numpy("label")
            labels = [label.decode() if isinstance(label, bytes) else label for label in found]
            assert labels == ["positive", "negative"]
        short = tensor("text_pair", [b"good film"], binary=binary)
        for slug, sent, said in (
            ("pairs", [texts, short], "same length"),
            ("pairs", [texts], "takes two texts"),
            ("pairs", [texts, texts], "text_pair"),
            ("reviews", [texts, others], "no text_pair"),
        ):
            with pytest.raises(InferenceServerException, match=said):
                client.infer(slug, sent, headers=stage.auth)


def test_a_file_has_both_columns(bundle: Path, tmp_path: Path) -> None:
    content = b"id,sentence1,sentence2\n1,film,good\n2,film,\n3,a bad film,film\n"
    job_dir = job(tmp_path, bundle, content, "text")
    assert finish(job_dir).failed == 1
    rows = list(csv.DictReader(io.StringIO(output(job_dir).decode())))
    assert [row["label"] for row in rows] == ["positive", "", "negative"] and "text_pair" in rows[1]["error"]
    mapped = job(tmp_path / "mapped", bundle, b"q,a\nfilm,good\n", "text", mapping={"text": "q", "text_pair": "a"})
    assert finish(mapped).labels == {"positive": 1}
    with pytest.raises(JobError, match="text_pair"):
        finish(job(tmp_path / "single", bundle, b"text,id\ngood film,7\n", "text"))
