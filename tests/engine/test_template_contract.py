"""What every task template promises, on its own toy data, run as a runner runs it: in a process, on a folder."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from tests.engine.jobs import Job, is_checkpoint, kill_when, make_spec, run
from workers.contracts.errors import UserError
from workers.contracts.events import EVENT, FROM_CHILD
from workers.contracts.jobdir import file_ref
from workers.contracts.manifest import TrainResult
from workers.contracts.report import ClassificationReport, read_report
from workers.inference import runtime
from workers.inference.explain import MAX_ASKED, explain
from workers.inference.script import predict_script
from workers.task_templates import TEMPLATES, toy
from workers.task_templates.base import PRESETS

# What keeps a toy run short, and what it must reach on the test rows, where guessing gives a third.
TOY: dict[str, dict[str, Any]] = {
    "text-classification": {"epochs": 8, "int8": True},
    "image-classification": {"epochs": 4, "width": 8, "int8": True},
    "tabular-classification": {"epochs": 25, "width": 32, "depth": 1, "int8": True},
    "recommendation": {"algorithm": "als", "factors": 2, "iterations": 40, "trials": 1},
}
REACHED = {"accuracy": 0.9, "micro_f1": 0.9, "recall@10": 0.9}
# Templates whose rows may have several labels each, and who writes such a toy.
SEVERAL = {"text-classification": toy.write_toy_text_sets, "image-classification": toy.write_toy_image_sets}
WITH_SEVERAL = " with several labels"
OF_PAIRS = " of pairs"
CASES = [*sorted(TEMPLATES), *(key + WITH_SEVERAL for key in SEVERAL), f"text-classification{OF_PAIRS}"]
# What a client sends for a row of the toy data, and whether an explanation names what the toy was made to turn on.
RAW: dict[str, Callable[[dict[str, Any]], Any]] = {
    "text": lambda row: {name: row[name] for name in ("text", "text_pair")} if "text_pair" in row else row["text"],
    "image": lambda row: row["image"],
    "recommendation": lambda row: {"user": row["user"], "k": 3},
    "tabular": lambda row: row["values"],
}


def names_the_word(row: dict[str, Any], found: dict[str, Any]) -> bool:
    if "text_pair" in row:
        # What is asked for, in the question or where the sentence has it; a sentence that has it not shows nothing.
        assert {word["input"] for word in found["words"]} == {"text", "text_pair"}
        heaviest = max(found["words"], key=lambda word: word["weight"])["text"]
        return found["label"] == "misses" or f"where is {heaviest}?" == row["text"]
    return max(found["words"], key=lambda word: word["weight"])["text"] in toy._WORDS[found["label"]]


def names_the_blob(row: dict[str, Any], found: dict[str, Any]) -> bool:
    """The hottest cell lies in the blob, where the pixels have the colour of the class."""
    pixels = np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB")).astype(int)
    y, x = np.unravel_index(np.argmax(found["weights"]), found["grid"])
    place = pixels[int((y + 0.5) * 24 / found["grid"][0]), int((x + 0.5) * 24 / found["grid"][1])]
    return bool(np.abs(place - toy._COLOURS[found["label"]]).max() < 30)


def names_the_taste(row: dict[str, Any], found: dict[str, Any]) -> bool:
    genre = row["item"].partition("-")[0]
    reasons = [reason["item"] for entry in found["items"][:1] for reason in entry["because"]]
    return bool(reasons) and all(item.startswith(genre) for item in reasons)


def names_the_column(row: dict[str, Any], found: dict[str, Any]) -> bool:
    deciding = {"moss": {"found"}, "tree": {"height", "found"}}.get(row["label"], {"height", "colour", "found"})
    return max(found["columns"], key=lambda column: column["weight"])["column"] in deciding


DECIDES = {
    "text": names_the_word,
    "image": names_the_blob,
    "recommendation": names_the_taste,
    "tabular": names_the_column,
}
# Modules that a machine with only the bundle's libraries does not have.
ABSENT = ["torch", "workers", "django", "pyarrow", "pydantic", "onnx", "scipy", "sklearn", "polars", "safetensors"]


def toy_job(case: str, folder: Path, **parameters: Any) -> Job:
    """A short job whose names are Markdown."""
    key = case.removesuffix(WITH_SEVERAL).removesuffix(OF_PAIRS)
    names = {"data_name": "Toy *data*", "model_name": "# Toy"}
    longer = {"epochs": 16} if key != case and key.startswith("image") else {}
    job = Job.create(folder, make_spec(key, seed=3, parameters=TOY[key] | longer | parameters, **names))
    if case.endswith(OF_PAIRS):
        toy.write_toy_text_pairs(job.inputs / "data.parquet", 0)
    elif key == case:
        TEMPLATES[key].toy_data(job.inputs / "data.parquet")
    else:
        SEVERAL[key](job.inputs / "data.parquet", 0)
    return job


def has_several(job: Job) -> bool:
    return "labels" in pyarrow.parquet.read_schema(job.inputs / "data.parquet").names


def has_pairs(job: Job) -> bool:
    return "text_pair" in pyarrow.parquet.read_schema(job.inputs / "data.parquet").names


@pytest.fixture(scope="module", params=CASES)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return run(toy_job(request.param, tmp_path_factory.mktemp("job")))


@pytest.mark.parametrize("key", sorted(TEMPLATES))
def test_its_parameters_explain_themselves_and_its_presets_are_valid(key: str) -> None:
    template = TEMPLATES[key]
    assert template.key == key and template.title and template.summary
    for field in template.params.model_json_schema()["properties"].values():
        assert field.get("title") and field.get("description")
    for preset in PRESETS:
        template.resolve(preset, {})


@pytest.mark.parametrize("key", sorted(TEMPLATES))
def test_bad_parameters_are_refused_by_name(key: str) -> None:
    with pytest.raises(UserError) as caught:
        TEMPLATES[key].resolve("fast", {"no_such_parameter": 1})
    assert caught.value.code == "parameters_invalid"
    assert caught.value.params["fields"][0]["field"] == "no_such_parameter"


def test_it_learns_its_toy_data(done: Job) -> None:
    metric = TEMPLATES[done.key].metric_for(has_several(done))
    reached = done.result["metrics"]["test"][metric]
    assert reached >= next((bar for name, bar in REACHED.items() if name == metric), 0.5)


def test_its_result_and_events_are_what_the_contracts_say(done: Job) -> None:
    TrainResult.model_validate(done.result)
    assert {event["type"] for event in done.events} <= set(FROM_CHILD)
    for event in done.events:
        EVENT.validate_python(event)
    fractions = [event["fraction"] for event in done.told("progress")]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert any(event["type"] == "device" for event in done.events)


def test_its_report_is_one_document_in_the_result_and_in_the_bundle(done: Job) -> None:
    report = read_report(done.result["report"])
    assert json.loads((done.bundle / "report.json").read_text()) == done.result["report"]
    assert report.model_dump(mode="json") == done.result["report"]
    metric = TEMPLATES[done.key].metric_for(has_several(done))
    for split in ("test", "validation"):
        assert report.splits[split].metrics[metric] == pytest.approx(done.result["metrics"][split][metric], abs=1e-5)
    if isinstance(report, ClassificationReport):
        test = report.splits["test"]
        assert report.multi_label == has_several(done)
        if not report.multi_label:
            assert test.rows == sum(row.support for row in test.per_class) == sum(map(sum, test.confusion))
        assert report.baseline and report.baseline.test and report.baseline.test[metric] < test.metrics[metric]
        # Where every answer is right, only the share of right rows has an interval.
        name = metric if metric in test.intervals else "accuracy"
        assert test.intervals[name].low <= test.metrics[name] <= test.intervals[name].high
        answers = test.rows * (len(test.labels) if report.multi_label else 1)
        assert test.calibration and sum(part.rows for part in test.calibration.bins) == answers
    else:
        ours = report.splits["test"].metrics
        assert any(report.splits["test"].baselines["popularity"][name] < ours[name] for name in ours)


def test_the_whole_test_split_was_certified_without_a_flip(done: Job) -> None:
    certificate = done.result["certificate"]
    rows = pyarrow.parquet.read_table(done.inputs / "data.parquet")
    test_rows = rows.filter(pyarrow.compute.equal(rows["split"], "test"))
    units = test_rows["user"].unique() if "user" in rows.column_names else test_rows["row"]
    assert certificate["examples"] == len(units)
    assert certificate["passed"] and certificate["label_flips"] == 0 and certificate["split"] == "test"


def test_odd_inputs_are_certified_too(done: Job) -> None:
    edges = done.result["certificate"]["edge_cases"]
    assert edges["examples"] == len(edges["cases"]) >= 5 and edges["label_flips"] == 0
    assert {"same", "refused"} == set(edges["cases"].values())


def test_an_int8_variant_is_kept_and_measured_beside_the_model(done: Job) -> None:
    variants = done.result["manifest"]["variants"]
    if "int8" not in TEMPLATES[done.key].params.model_fields:
        assert variants == []
        return
    (int8,) = variants
    assert int8["bytes"] == (done.bundle / int8["file"]).stat().st_size < int8["bytes_fp32"]
    assert int8["examples"] == done.result["certificate"]["examples"]
    assert int8["deployable"] == (int8["accuracy_fp32"] - int8["accuracy"] <= int8["allowed_drop"])
    assert min(*int8["latency"].values(), *int8["latency_fp32"].values()) > 0
    # The variant answers by itself, and its scores are not those of the model to the last digit.
    case = json.loads((done.bundle / "reference.json").read_text())["cases"][0]
    (done.bundle.parent / "one.json").write_text(json.dumps({"inputs": [case["input"]]}))
    (answer,) = predict(done.bundle, "--variant", "int8", "--json", str(done.bundle.parent / "one.json"))
    assert answer["scores"].keys() == case["prediction"]["scores"].keys() and answer != case["prediction"]


def test_the_bundle_is_whole_and_says_what_it_holds(done: Job) -> None:
    manifest = json.loads((done.bundle / "manifest.json").read_text())
    present = {path.name for path in done.bundle.iterdir()} - {"manifest.json"}
    assert present == set(manifest["files"]) and {"predict.py", "README.md", "reference.json"} <= present
    for name, facts in manifest["files"].items():
        assert file_ref(done.bundle / name).sha256 == facts["sha256"]
    assert (done.bundle / "predict.py").read_bytes() == predict_script(TEMPLATES[done.key].predictor).encode()
    # Names are text, not Markdown.
    card = (done.bundle / "README.md").read_text()
    assert "# \\# Toy" in card and "Toy \\*data\\*" in card


def test_the_bundle_answers_alone_what_it_said_it_would(done: Job, tmp_path: Path) -> None:
    reference = json.loads((done.bundle / "reference.json").read_text())
    inputs = [case["input"] for case in reference["cases"]]
    (tmp_path / "body.json").write_text(json.dumps({"inputs": inputs}))
    answers = predict(done.bundle, "--json", str(tmp_path / "body.json"))
    assert answers == [case["prediction"] for case in reference["cases"]]


def test_its_answers_are_explained_by_what_decides_them(done: Job) -> None:
    rows = pyarrow.parquet.read_table(done.inputs / "data.parquet")
    rows = rows.filter(pyarrow.compute.equal(rows["split"], "test")).to_pylist()
    rows = [row for row in rows if row.get("labels") != []][:8]
    predictor = runtime.load(done.bundle)
    kind = TEMPLATES[done.key].kind
    items = predictor.parse([RAW[kind](row) for row in rows])
    answers = predictor.predict(items)
    explained = explain(predictor, items, answers)
    assert explained.asked <= MAX_ASKED
    named = [DECIDES[kind](row, found) for row, found in zip(rows, explained.explanations, strict=True)]
    assert sum(named) >= 7, explained.explanations


def test_predict_py_takes_what_people_have(done: Job, tmp_path: Path) -> None:
    raw = json.loads((done.bundle / "reference.json").read_text())["cases"][0]["input"]
    kind = TEMPLATES[done.key].kind
    if kind == "image":
        photo = tmp_path / "photo.jpg"
        photo.write_bytes(base64.b64decode(raw["image"]))
        arguments = [str(photo)]
    else:
        texts = [raw["text"], "--text-pair", raw["text_pair"]] if has_pairs(done) else [raw]
        forms = {"text": texts, "tabular": ["--row", json.dumps(raw)]}
        arguments = forms[kind] if kind in forms else ["--user", raw["user"], "--k", "3"]
    predictor = runtime.load(done.bundle)
    item = {"user": raw["user"], "k": 3} if kind == "recommendation" else raw
    assert predict(done.bundle, *arguments) == predictor.predict([predictor.prepare(item)])


def test_a_killed_job_goes_on_from_its_checkpoint_to_the_very_same_model(done: Job, tmp_path: Path) -> None:
    job = toy_job(done.key + (WITH_SEVERAL if has_several(done) else OF_PAIRS if has_pairs(done) else ""), tmp_path)
    before = kill_when(job, is_checkpoint)
    run(job)
    steps = [event["step"] for event in job.events[before:] if event["type"] == "progress" and "steps" in event]
    assert not steps or max(steps) >= 1
    weights = [name for name in done.result["manifest"]["files"] if name.endswith((".onnx", ".npz", ".npy"))]
    assert weights
    for name in weights:
        assert job.result["manifest"]["files"][name] == done.result["manifest"]["files"][name]


def test_each_of_several_labels_is_answered_from_its_threshold_on(done: Job) -> None:
    if not has_several(done):
        return
    rows = pyarrow.parquet.read_table(done.inputs / "data.parquet")
    rows = rows.filter(pyarrow.compute.equal(rows["split"], "test")).to_pylist()
    predictor = runtime.load(done.bundle)
    kind = TEMPLATES[done.key].kind
    answers = predictor.predict(predictor.parse([RAW[kind](row) for row in rows]))
    manifest = done.result["manifest"]
    thresholds = dict(zip(manifest["labels"], manifest["thresholds"], strict=True))
    for answer in answers:
        applying = {label for label, score in answer["scores"].items() if score >= thresholds[label]}
        assert set(answer["labels"]) == applying
        assert answer["score"] == max(answer["scores"].values()) == answer["scores"][answer["label"]]
        assert answer["labels"] == sorted(answer["labels"], key=lambda label: -answer["scores"][label])
    assert {len(answer["labels"]) for answer in answers} >= {0, 1, 2}
    # What the report says is what is served.
    report = read_report(done.result["report"])
    assert isinstance(report, ClassificationReport)
    given = [set(row["labels"]) for row in rows]
    right = sum(set(answer["labels"]) == labels for answer, labels in zip(answers, given, strict=True))
    assert report.splits["test"].metrics["accuracy"] == pytest.approx(right / len(rows), abs=1e-6)
    for row in report.splits["test"].per_class:
        assert row.support == sum(row.label in labels for labels in given)
        assert row.threshold == thresholds[row.label]
    # Labels are judged here too.
    assert report.suspected_labels
    assert pyarrow.parquet.read_metadata(done.output / "suspects.parquet").num_rows == report.suspected_labels.rows > 0


def predict(bundle: Path, *arguments: str) -> Any:
    """The answers of predict.py in a Python that can import only what the bundle asks for."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r})); sys.argv = sys.argv[1:]; import runpy; "
    run = "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-I", "-c", blocked + run, str(bundle / "predict.py"), *arguments]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=60, cwd=bundle)
    assert ended.returncode == 0, ended.stderr.decode()
    return json.loads(ended.stdout)["predictions"]
