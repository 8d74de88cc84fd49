"""What the report says of rows that training never saw, and the served path on odd inputs."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tests.engine.jobs import make_spec
from workers.contracts.errors import JobError
from workers.contracts.jobdir import JobDir
from workers.engine.calibration import Tempered
from workers.engine.classification import TrainedClassifier
from workers.engine.run import Run, Trained
from workers.inference import runtime
from workers.inference.core import Predictor
from workers.task_templates import TEMPLATES


def run_on(folder: Path, key: str, rows: list[dict[str, Any]], **parameters: Any) -> Run:
    template = TEMPLATES[key]
    spec = make_spec(key, parameters=parameters)
    job_dir = JobDir.create(folder, spec)
    numbered = [{"row": number, **row} for number, row in enumerate(rows)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(numbered), job_dir.inputs / "data.parquet")
    return Run(job_dir, spec, template.resolve("fast", parameters))


def text_rows(*, test_labels: tuple[str, ...] = ("new", "old")) -> list[dict[str, Any]]:
    words = {"new": "fresh modern recent", "old": "ancient stale antique"}
    rows = []
    for number in range(80):
        label = "new" if number % 2 else "old"
        rows.append({"split": "train", "text": f"{words[label]} thing {number}", "label": label})
    rows += [{"split": "test", "text": f"{words.get(label, 'what')} thing", "label": label} for label in test_labels]
    return rows


def certified(run: Run, trained: Trained, folder: Path) -> Predictor:
    folder.mkdir()
    template = TEMPLATES[run.train.template]
    manifest = {"manifest_version": 1, "predictor": template.predictor, "labels": trained.labels}
    manifest["preprocessing"] = trained.export(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    predictor = runtime.load(folder)
    certificate = trained.certify(predictor)
    assert certificate.passed, certificate
    return predictor


def test_a_label_that_only_the_test_rows_have_counts_as_wrong_and_is_named(tmp_path: Path) -> None:
    run = run_on(tmp_path / "job", "text-classification", text_rows(test_labels=("new", "old", "strange")))
    metrics, report = TEMPLATES["text-classification"].train(run).evaluate()
    assert metrics["test"]["accuracy"] == pytest.approx(2 / 3)
    assert report["splits"]["test"]["per_class"][2]["label"] == "strange"
    assert [mistake["label"] for mistake in report["splits"]["test"]["mistakes"]] == ["strange"]
    assert report["splits"]["test"]["mistakes"][0]["row"] == 82
    assert "strange" in run.job_dir.events_path.read_text()
    # Two rows of three and no validation: no temperature, intervals that say how little that is.
    assert report["temperature"]["value"] == 1.0 and report["temperature"]["reason"]
    assert report["splits"]["test"]["intervals"]["accuracy"]["high"] == 1.0
    assert report["baseline"]["test"]["accuracy"] == pytest.approx(1 / 3, abs=1e-5)


def test_an_overconfident_model_is_tempered_and_served_as_it_was_judged(tmp_path: Path) -> None:
    rows = text_rows(test_labels=("new", "old") * 10)
    random = np.random.default_rng(0)
    words = {"new": "fresh modern recent", "old": "ancient stale antique"}
    for number in range(300):
        label = "new" if number % 2 else "old"
        # One label in five is wrong, which words learned from clean rows cannot know.
        shown = ("old" if label == "new" else "new") if random.random() < 0.2 else label
        rows.append({"split": "validation", "text": f"{words[shown]} thing", "label": label})
    run = run_on(tmp_path / "job", "text-classification", rows, epochs=12, linear=False)
    trained = TEMPLATES["text-classification"].train(run)
    assert isinstance(trained, TrainedClassifier)
    answers = [mistake["predicted"] for mistake in trained.evaluate()[1]["splits"]["validation"]["mistakes"]]
    # The same model, four times as sure of itself.
    TrainedClassifier.__init__(trained, run, Tempered(trained.model, 0.25), trained.labels, trained.evaluation)
    _, report = trained.evaluate()
    temperature, validation = report["temperature"], report["splits"]["validation"]
    assert sorted(mistake["predicted"] for mistake in validation["mistakes"]) == sorted(answers)
    assert temperature["value"] > 1.5 and temperature["log_loss"] < temperature["log_loss_before"]
    assert validation["metrics"]["log_loss"] == pytest.approx(temperature["log_loss"], abs=1e-4)
    assert validation["calibration"]["error"] < validation["calibration"]["error_before"]
    certified(run, trained, tmp_path / "bundle")


@pytest.mark.parametrize("is_learned", [True, False])
def test_what_only_validation_rows_tell_is_learned_once_they_have_judged(tmp_path: Path, is_learned: bool) -> None:
    """But not where folds are compared by them."""
    rows = text_rows(test_labels=("new", "old") * 5)
    rows += [{"split": "validation", "text": f"zebra {number}", "label": "new"} for number in range(10)]
    rows += [{"split": "validation", "text": f"gnu {number}", "label": "old"} for number in range(10)]
    run = run_on(tmp_path / "job", "text-classification", rows, **({} if is_learned else {"folds": 2}))
    trained = TEMPLATES["text-classification"].train(run)
    metrics, report = trained.evaluate()
    predictor = certified(run, trained, tmp_path / "bundle")
    zebra, gnu = (answer["scores"] for answer in predictor.predict(list(map(predictor.prepare, ("zebra", "gnu")))))
    assert (zebra["new"] - gnu["new"] > 0.2) == is_learned
    assert any("learned from them, too" in note for note in report["notes"]) == is_learned
    # As they were answered by a model that had never seen the animals' names: both words alike.
    assert metrics["validation"]["log_loss"] > 0.5


def test_without_test_and_validation_rows_the_training_rows_are_certified(tmp_path: Path) -> None:
    run = run_on(tmp_path / "job", "text-classification", text_rows(test_labels=()))
    trained = TEMPLATES["text-classification"].train(run)
    certified(run, trained, tmp_path / "bundle")
    assert set(trained.evaluate()[0]) == {"train"}


@pytest.mark.parametrize(("rows", "code"), [([], "too_few_rows"), (["new"] * 9, "one_class_only")])
def test_data_that_cannot_be_learned_from_ends_the_job_with_its_reason(
    tmp_path: Path, rows: list[str], code: str
) -> None:
    data = [{"split": "train", "text": f"text {label}", "label": label} for label in rows]
    data.append({"split": "test", "text": "text", "label": "new"})
    run = run_on(tmp_path / "job", "text-classification", data)
    with pytest.raises(JobError) as caught:
        TEMPLATES["text-classification"].train(run)
    assert caught.value.code == code


def test_texts_of_all_scripts_and_lengths_are_served_as_they_were_judged(tmp_path: Path) -> None:
    rows = text_rows()
    odd = [
        "我很喜欢这个新的东西",
        "とても古いです",
        "😀😀 fresh",
        "ﬁne ＦＲＥＳＨ",
        "a" * 9000,
        "stale " * 3000,
        "\u0000x",
        "№ ½ ™",
    ]
    rows += [{"split": "test", "text": text, "label": "new"} for text in odd]
    run = run_on(tmp_path / "job", "text-classification", rows, max_tokens=64, epochs=3)
    trained = TEMPLATES["text-classification"].train(run)
    predictor = certified(run, trained, tmp_path / "bundle")
    # Alone or among others: padding changes nothing.
    items = [predictor.prepare(text) for text in odd]
    together = predictor.predict(items)
    for item, answer in zip(items, together, strict=True):
        alone = predictor.predict([item])[0]
        assert alone["label"] == answer["label"]
        assert alone["score"] == pytest.approx(answer["score"], abs=2e-6)


def test_images_of_all_modes_and_sizes_are_served_as_they_were_judged(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = []
    modes = ["RGB", "L", "P", "RGBA", "LA", "1"]
    for number in range(48):
        dark = number % 2 == 0
        shape = (int(random.integers(20, 90)), int(random.integers(20, 90)), 3)
        pixels = random.integers(0, 90, shape) if dark else random.integers(160, 255, shape)
        image = Image.fromarray(pixels.astype(np.uint8)).convert(modes[number % 6])
        stream = io.BytesIO()
        image.save(stream, "PNG" if image.mode in ("RGBA", "LA", "1") else ("GIF", "BMP", "WEBP")[number % 3])
        rows.append(
            {
                "split": "test" if number % 4 == 3 or number % 4 == 2 else "train",
                "image": stream.getvalue(),
                "label": "dark" if dark else "bright",
                "name": f"{number}.x",
                "width": shape[1],
                "height": shape[0],
            }
        )
    run = run_on(tmp_path / "job", "image-classification", rows, epochs=2, width=8)
    trained = TEMPLATES["image-classification"].train(run)
    certified(run, trained, tmp_path / "bundle")
    assert run.chosen["image_size"] in (32, 48)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    row = {"split": "train", "name": "cats/broken.jpg", "width": 32, "height": 32, "image": b"\xff\xd8\xff nothing"}
    run = run_on(tmp_path / "job", "image-classification", [{**row, "label": "a"}, {**row, "label": "b"}])
    with pytest.raises(JobError) as caught:
        TEMPLATES["image-classification"].train(run)
    assert caught.value.code == "input_corrupt" and "cats/broken.jpg" in caught.value.evidence
