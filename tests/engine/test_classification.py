"""Metrics of classifiers beside scikit-learn's, and what the report says of rows that training never saw."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import sklearn.metrics
from PIL import Image

from workers.contracts.errors import JobError
from workers.contracts.job import DatasetRef, JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.engine.classification import classification_metrics, confusion_matrix
from workers.engine.run import Run, Trained
from workers.inference import runtime
from workers.inference.core import Predictor
from workers.task_templates import TEMPLATES


def test_metrics_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 200)  # the fifth label never occurs
    scores = random.dirichlet(np.ones(5), 200)
    answered = scores.argmax(axis=1)
    found = classification_metrics(truth, scores)
    common: dict[str, Any] = {"average": "macro", "zero_division": 0}
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, answered))
    assert found["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(truth, answered, **common))
    assert found["macro_precision"] == pytest.approx(sklearn.metrics.precision_score(truth, answered, **common))
    assert found["macro_recall"] == pytest.approx(sklearn.metrics.recall_score(truth, answered, **common))
    assert found["log_loss"] == pytest.approx(sklearn.metrics.log_loss(truth, scores, labels=range(5)))
    expected = sklearn.metrics.confusion_matrix(truth, answered, labels=range(5))
    assert np.array_equal(confusion_matrix(truth, answered, 5), expected)


def run_on(folder: Path, key: str, rows: list[dict[str, Any]], **parameters: Any) -> Run:
    template = TEMPLATES[key]
    dataset = DatasetRef(dataset="d", version="v", number=1, content_hash="h", kind=template.kind, name="Rows")
    train = TrainSpec(template=key, preset="fast", parameters=parameters, dataset=dataset, model_name="M")
    spec = JobSpec(job="j", attempt=1, team="t", kind="train", inputs=[], output_prefix="p", train=train)
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
