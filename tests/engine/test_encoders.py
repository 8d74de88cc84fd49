"""Transfer learning on tiny encoders: any Hugging Face folder, trained, exported and served with nothing of it left."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
import pytest

from tests.engine.encoding import failure, run_job, save_resnet, save_text_encoder, save_vit, write_texts
from tests.engine.jobs import TEXT, Job, is_checkpoint, kill_when, make_job, run
from tests.engine.test_template_contract import ABSENT, predict
from workers.contracts.errors import UserError
from workers.engine import __main__ as engine
from workers.engine import encoder_text
from workers.engine.encoder_text import fit_share
from workers.engine.examples import Feed
from workers.engine.run import Run
from workers.engine.settings import Settings
from workers.engine.text import TextExamples, train_tokenizer
from workers.inference import runtime
from workers.inference.text import TokenReader
from workers.task_templates import TEMPLATES, toy

QUICK = {"epochs": 3, "encoder_learning_rate": 0.005, "encoder_rounds": 1}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's folder of encoders."""
    root = tmp_path_factory.mktemp("encoders")
    save_text_encoder(root / "tiny")
    save_vit(root / "ours" / "vit")
    save_resnet(root / "ours" / "resnet")
    # What the operator puts into place goes before the starter package.
    shutil.copytree(root / "tiny", root / "all-MiniLM-L6-v2")
    shutil.copytree(root / "tiny", root / "pickled")
    (root / "pickled" / "model.safetensors").rename(root / "pickled" / "pytorch_model.bin")
    shutil.copytree(root / "tiny", root / "empty", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(root / "tiny", root / "foreign")
    config = json.loads((root / "foreign" / "config.json").read_text())
    code = {"model_type": "unheard-of", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (root / "foreign" / "config.json").write_text(json.dumps({**config, **code}))
    (root / "foreign" / "code.py").write_text("raise SystemExit('code of the encoder was run')")
    return root


@pytest.fixture(autouse=True)
def _place(encoders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_ENCODERS", str(encoders))


@pytest.fixture(scope="module")
def tuned(encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A text job on the tiny encoder, in a process of its own."""
    job = make_job(tmp_path_factory.mktemp("tuned"), encoder="tiny", **QUICK)
    run(job, SLIPWAY_ENCODERS=str(encoders))
    return job


def test_a_fine_tuned_encoder_learns_and_is_certified_over_the_whole_test_split(tuned: Job) -> None:
    assert tuned.result["metrics"]["test"]["accuracy"] >= 0.9
    certificate = tuned.result["certificate"]
    assert certificate["passed"] and certificate["label_flips"] == 0 and certificate["examples"] == 60
    assert tuned.result["manifest"]["provenance"]["parameters"]["encoder"] == "tiny"
    assert "tiny" in (tuned.bundle / "README.md").read_text()


def test_its_bundle_answers_without_transformers(tuned: Job, tmp_path: Path) -> None:
    assert "transformers" not in json.dumps(tuned.result["manifest"]["files"])
    reference = json.loads((tuned.bundle / "reference.json").read_text())
    (tmp_path / "body.json").write_text(json.dumps({"inputs": [case["input"] for case in reference["cases"]]}))
    ABSENT.append("transformers")
    try:
        answers = predict(tuned.bundle, "--json", str(tmp_path / "body.json"))
    finally:
        ABSENT.remove("transformers")
    assert answers == [case["prediction"] for case in reference["cases"]]


def test_it_reads_as_many_tokens_as_the_encoder_has_positions(tuned: Job) -> None:
    assert tuned.result["manifest"]["preprocessing"]["max_tokens"] == 64
    predictor = runtime.load(tuned.bundle)
    texts = ["rain", "👩‍🚀 ünïcødé", "storm " * 2000, "[PAD] [SEP] [CLS]", "雨と風"]
    alone = [predictor.predict([predictor.prepare(text)])[0]["scores"] for text in texts]
    together = predictor.predict([predictor.prepare(text) for text in texts])
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(list(one.values()), list(other["scores"].values()), atol=2e-6)


def test_a_frozen_encoder_lends_its_features(tmp_path: Path) -> None:
    job = run_job(TEXT, tmp_path, encoder="tiny", encoder_training="frozen", epochs=10)
    assert job.result["metrics"]["test"]["accuracy"] >= 0.9
    assert job.result["certificate"]["passed"]


def test_validation_decides_between_the_starter_encoder_and_a_network_from_scratch(tmp_path: Path) -> None:
    # Of so few texts there is time for all the rounds that are worth it.
    job = run_job(TEXT, tmp_path, encoder="auto", **{**QUICK, "encoder_rounds": None})
    parameters = job.result["manifest"]["provenance"]["parameters"]
    assert parameters["answers"] in ("scratch", "encoder", "both") and parameters["encoder_rounds"] == 4
    said = [event["message"] for event in job.events if event["type"] == "log"]
    note = next(message for message in said if message.startswith("On the validation rows: from scratch"))
    assert note in job.result["report"]["notes"]
    assert job.result["certificate"]["passed"]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (0.9, 0.9, 0.5),  # nothing speaks for either
        (0.3, 0.9, 0.995),  # one is better on every row
        (0.9, 0.3, 0.005),
    ],
)
def test_a_mean_of_two_models_is_weighed_by_their_log_loss(ours: float, theirs: float, expected: float) -> None:
    truth = np.arange(400) % 2
    sure = [np.where(np.arange(2) == truth[:, None], right, 1 - right) for right in (ours, theirs)]
    assert fit_share(sure[0], sure[1], truth) == pytest.approx(expected, abs=0.005)
    # Of several labels each is asked about by itself; a label that no training row has says nothing.
    assert fit_share(sure[0], sure[1], np.eye(2, dtype=np.uint8)[truth]) == pytest.approx(expected, abs=0.005)
    assert fit_share(sure[0], sure[1], np.full(400, -1)) == 0.5


def test_where_each_knows_what_the_other_does_not_both_count() -> None:
    truth, half = np.zeros(400, dtype=np.int64), np.arange(400) % 2 == 0
    first, second = (np.where(knows, 0.95, 0.3) for knows in (half, ~half))
    both = [np.stack([right, 1 - right], axis=1) for right in (first, second)]
    assert fit_share(both[0], both[1], truth) == pytest.approx(0.5, abs=0.01)


def test_the_later_rounds_learn_from_the_validation_rows_which_only_the_first_has_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[int, int]] = []
    fit = encoder_text.fit

    def counting(*given: Any) -> None:
        learned.append((len(given[2]), len(given[3])))
        fit(*given)

    monkeypatch.setattr(encoder_text, "fit", counting)
    job = run_job(TEXT, tmp_path, encoder="tiny", **{**QUICK, "encoder_rounds": 3})
    assert learned == [(240, 60), (300, 0), (300, 0)]
    assert any("learned from them, too" in note for note in job.result["report"]["notes"])
    assert job.result["metrics"]["validation"]["accuracy"] >= 0.9 and job.result["certificate"]["split"] == "test"


def test_where_validation_rows_are_all_that_judges_no_round_learns_from_them(tmp_path: Path) -> None:
    job = make_job(tmp_path, encoder="tiny", **{**QUICK, "encoder_rounds": 2, "epochs": 1})
    table = pyarrow.parquet.read_table(job.inputs / "data.parquet")
    pyarrow.parquet.write_table(
        table.filter(pyarrow.compute.not_equal(table["split"], "test")), job.inputs / "data.parquet"
    )
    engine.main([str(job.root)])
    assert not any("learned from them, too" in note for note in job.result["report"]["notes"])
    assert job.result["certificate"]["passed"] and job.result["certificate"]["split"] == "validation"


def test_long_texts_are_trained_on_a_few_at_a_time(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    write_texts(job, [("train", "rain " * length, "ab"[length % 2]) for length in range(1, 61)])
    whole = Run(job, job.spec(), TEMPLATES[TEXT].resolve("fast", {}))
    tokenizer = train_tokenizer(lambda: iter(["rain"] * 9), 300, True)
    texts = TextExamples(whole, "train", [TokenReader(tokenizer, 64)], ["a", "b"], 1000)
    texts.most_tokens = 256
    feed = Feed(texts, Settings(epochs=1, batch_size=16), 0)
    batches = [feed.batch(step, 16) for step in range(feed.steps)]
    assert [batch.rows for batch in batches] == [15] * 4
    assert all(part.inputs.numel() <= 256 for batch in batches for part in batch.parts)
    # Short ones all together: parts cost time.
    assert {len(batch.parts) for batch in batches} == {1, 2, 3, 4}


@pytest.mark.parametrize("how", ["both", "frozen"])
def test_an_encoder_learns_several_labels(encoders: Path, tmp_path: Path, how: str) -> None:
    given = {"encoder": "auto", **QUICK} if how == "both" else {"encoder": "tiny", "encoder_training": "frozen"}
    job = make_job(tmp_path, **given)
    toy.write_toy_text_sets(job.inputs / "data.parquet", 0)
    run(job, SLIPWAY_ENCODERS=str(encoders))
    assert job.result["certificate"]["passed"] and len(job.result["manifest"]["thresholds"]) == 3
    assert job.result["metrics"]["test"]["micro_f1"] >= 0.8


def test_without_validation_rows_both_answer_together_from_one_graph(tmp_path: Path) -> None:
    job = make_job(tmp_path, encoder="auto", **QUICK)
    table = pyarrow.parquet.read_table(job.inputs / "data.parquet")
    names = [name.replace("validation", "train") for name in table["split"].to_pylist()]
    table = table.set_column(table.column_names.index("split"), "split", pyarrow.array(names))
    pyarrow.parquet.write_table(table, job.inputs / "data.parquet")
    engine.main([str(job.root)])
    assert job.result["manifest"]["provenance"]["parameters"]["answers"] == "both"
    assert [own["file"] for own in job.result["manifest"]["preprocessing"]["tokenizers"]] == [
        "tokenizer.json",
        "tokenizer2.json",
    ]
    assert job.result["certificate"]["passed"] and job.result["metrics"]["test"]["accuracy"] >= 0.9
    assert predict(job.bundle, "rain and storm")[0]["label"] == "weather"


def test_a_job_killed_while_it_fine_tunes_goes_on_to_the_very_same_model(encoders: Path, tmp_path: Path) -> None:
    place = {"SLIPWAY_ENCODERS": str(encoders)}
    whole = run_job(TEXT, tmp_path / "whole", encoder="auto", **QUICK)
    job = make_job(tmp_path / "killed", encoder="auto", **QUICK)
    before = kill_when(job, lambda event: is_checkpoint(event) and fine_tunes(event), **place)
    announced = [event["step"] for event in job.events if event["type"] == "checkpoint"]
    assert announced == sorted(announced)
    run(job, **place)
    assert any("Resumed at step" in event.get("message", "") for event in job.events[before:])
    files = whole.result["manifest"]["files"]
    assert job.result["manifest"]["files"]["model.onnx"] == files["model.onnx"]


def fine_tunes(event: dict[str, object]) -> bool:
    """Whether a checkpoint is of the second training: then it names the first one's files too."""
    return "scratch" in json.dumps(event["files"]) and len(event["files"]) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pickled", "pickled"),
        ("empty", "no weights"),
        ("foreign", "cannot be loaded"),
        ("ours/vit", "does not read texts"),
    ],
)
def test_what_is_no_encoder_of_texts_is_refused_with_the_reason(tmp_path: Path, name: str, words: str) -> None:
    card = failure(run_job(TEXT, tmp_path, encoder=name))
    assert card["code"] == "encoder_invalid" and words in card["evidence"]
    assert str(tmp_path) not in card["evidence"]


@pytest.mark.parametrize("name", ["../tiny", "/etc", "a/b/c", "a/../b", ".hidden", "a b", "org/.git", "tiny\n", ""])
def test_a_name_can_lead_nowhere_else(name: str) -> None:
    with pytest.raises(UserError) as caught:
        TEMPLATES[TEXT].resolve("fast", {"encoder": name})
    assert caught.value.params["fields"][0]["field"] == "encoder"


@pytest.mark.parametrize("encoder", ["tiny", "auto"])
def test_pairs_are_read_as_the_encoder_reads_pairs(tmp_path: Path, encoder: str) -> None:
    job = make_job(tmp_path, encoder=encoder, **QUICK)
    toy.write_toy_text_pairs(job.inputs / "data.parquet", 0)
    engine.main([str(job.root)])
    settings = job.result["manifest"]["preprocessing"]
    assert job.result["certificate"]["passed"] and settings["pairs"]
    case = json.loads((job.bundle / "reference.json").read_text())["cases"][0]
    predictor = runtime.load(job.bundle)
    item = predictor.prepare(case["input"])
    assert predictor.predict([item]) == [case["prediction"]]
    if encoder == "tiny":
        (reader,) = predictor._readers
        assert [reader.tokenizer.id_to_token(number) for number in reader.encode([item])[0]].count("[SEP]") == 2
