"""Transfer learning of images on tiny encoders: seen as their processors want it, in training and where served."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.engine.encoding import failure, run_job, save_resnet, save_text_encoder, save_vit
from tests.engine.jobs import Job
from tests.engine.test_template_contract import ABSENT, predict
from workers.inference.image import Scaling, decode_image

KEY = "image-classification"


@pytest.fixture(scope="module", autouse=True)
def _place(tmp_path_factory: pytest.TempPathFactory) -> object:
    root = tmp_path_factory.mktemp("encoders")
    save_vit(root / "ours" / "vit")
    save_resnet(root / "ours" / "resnet")
    save_text_encoder(root / "bert")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_ENCODERS", str(root))
        yield


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A fine-tuned residual network whose processor cuts out the middle."""
    job = run_job(
        KEY, tmp_path_factory.mktemp("resnet"), encoder="ours/resnet", epochs=4, encoder_learning_rate=0.01, flip="on"
    )
    assert job.events[-1]["type"] != "failed", job.events[-1]
    return job


def test_a_fine_tuned_encoder_learns_and_is_certified_over_the_whole_test_split(resnet: Job) -> None:
    assert resnet.result["metrics"]["test"]["accuracy"] >= 0.9
    certificate = resnet.result["certificate"]
    assert certificate["passed"] and certificate["label_flips"] == 0 and certificate["examples"] == 40


def test_its_processors_settings_are_those_of_the_served_path(resnet: Job) -> None:
    settings = resnet.result["manifest"]["preprocessing"]
    assert (settings["height"], settings["width"], settings["crop"]) == (16, 16, 0.8)
    assert settings["resample"] == "bicubic" and settings["resize"] == "crop"


def test_its_bundle_answers_without_transformers(resnet: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{predict.__module__}.ABSENT", [*ABSENT, "transformers"])
    case = json.loads((resnet.bundle / "reference.json").read_text())["cases"][0]
    (tmp_path / "photo").write_bytes(base64.b64decode(case["input"]["image"]))
    assert predict(resnet.bundle, str(tmp_path / "photo")) == [case["prediction"]]


@pytest.mark.parametrize("training", ["full", "frozen"])
def test_a_vision_transformer_learns_too(tmp_path: Path, training: str) -> None:
    job = run_job(KEY, tmp_path, encoder="ours/vit", encoder_training=training, encoder_learning_rate=0.005, epochs=4)
    assert job.result["metrics"]["test"]["accuracy"] >= 0.8
    settings = job.result["manifest"]["preprocessing"]
    assert settings["crop"] is None and settings["resample"] == "bilinear"
    assert job.result["certificate"]["label_flips"] == 0


def test_an_encoder_of_texts_is_refused(tmp_path: Path) -> None:
    card = failure(run_job(KEY, tmp_path, encoder="bert"))
    assert card["code"] == "encoder_invalid" and "does not read images" in card["evidence"]


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (33, 33)])
def test_cropping_in_one_step_is_what_processors_do_in_two(size: tuple[int, int]) -> None:
    row, column = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    waves = np.stack([np.sin(row / 7), np.cos(column / 9), np.sin((row + column) / 11)], axis=2)
    image = Image.fromarray((127 + 120 * waves).astype(np.uint8))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    seen = decode_image(stream.getvalue(), (16, 16), scaling=Scaling(0.8, "bilinear"))

    scale = 20 / min(size)
    scaled = image.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - 16) // 2, (scaled.height - 16) // 2
    wanted = np.asarray(scaled.crop((left, top, left + 16, top + 16)))
    assert np.abs(seen.astype(int) - wanted.astype(int)).mean() < 4
