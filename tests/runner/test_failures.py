"""Every way in which a training fails, provoked: its card tells cause, evidence, what to do, and a repair."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from tests.runner.bench import JOB, TEAM, Bench
from workers.contracts import names
from workers.contracts.error_codes import CATALOGUE, REPAIRS
from workers.contracts.errors import ErrorCard, InfraError
from workers.contracts.job import DatasetRef, InputFile, JobSpec, TrainSpec
from workers.runner import inputs
from workers.runner.host import run_job
from workers.storage import FolderStorage
from workers.task_templates import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
DATA = f"teams/{TEAM}/versions/ver_{'a' * 24}/data.parquet"

# Codes of jobs that are not a runner's to tell, and where each is provoked.
ELSEWHERE = {
    "dataset_not_ready": ("tests/training/test_actions.py", "test_a_version_that_is_not_ready_is_refused"),
    "job_ended": ("tests/training/test_actions.py", "test_a_job_that_is_over_cannot_be_cancelled"),
    "attempts_exhausted": ("tests/training/test_recording.py", "test_a_job_that_is_interrupted_too_often_fails"),
    "cancelled": ("tests/runner/test_attempts.py", "test_a_cancelled_job_is_gone_within_five_seconds"),
    "encoder_unreachable": (
        "tests/engine/test_encoder_sources.py",
        "test_a_hub_that_does_not_answer_is_an_error_that_says_what_to_do",
    ),
    "encoder_invalid": ("tests/engine/test_encoders.py", "test_what_is_no_encoder_of_texts_is_refused_with_the_reason"),
    "quota_exceeded": ("tests/batch/test_resuming.py", "test_it_goes_on_from_a_checkpoint_to_the_same_file"),
    "prediction_not_ready": ("tests/batch/test_by_api.py", "test_a_cancelled_prediction_stops_and_has_no_answers"),
    "url_timeout": ("tests/fetch/test_http.py", "test_a_far_end_that_misbehaves_costs_little_and_is_told"),
    "url_unreachable": ("tests/datasets/test_sources.py", "test_an_object_of_a_bucket_that_the_operator_names"),
    "checkpoint_corrupt": ("tests/runner/test_attempts.py", "test_a_damaged_checkpoint_is_not_used"),
}


class Trouble:
    """A training that is going to fail."""

    def __init__(self, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench, self.monkeypatch = bench, monkeypatch
        self.data = tmp_path / "data.parquet"
        TEMPLATES["text-classification"].toy_data(self.data)

    def card(
        self,
        trouble: str = "",
        template: str = "text-classification",
        sha256: str | None = None,
        limit_s: int = 600,
        **parameters: Any,
    ) -> ErrorCard:
        """Train on `data` with a trouble of `troubled_engine`; the card that comes of it."""
        kind = TEMPLATES["text-classification"].kind
        dataset = DatasetRef.model_validate(
            {"dataset": "d", "version": "v", "number": 1, "content_hash": "h", "kind": kind, "name": "Toy"}
        )
        spec = JobSpec(
            job=JOB,
            attempt=1,
            team=TEAM,
            kind="train",
            inputs=[InputFile(name="data.parquet", key=DATA, sha256=sha256)],
            output_prefix=names.attempt_prefix(JOB, 1),
            time_limit_s=limit_s,
            train=TrainSpec(
                template=template, preset="fast", parameters=parameters, dataset=dataset, model_name=trouble
            ),
        )
        if self.data.exists():
            self.bench.storage.put_file(self.data, DATA)
        self.bench.storage.put_bytes(spec.model_dump_json().encode(), names.job_spec_key(JOB))
        host = self.bench.host()
        host.modules["train"] = "tests.runner.troubled_engine"
        assert run_job(host, None, JOB, 1)
        last = self.bench.events()[-1]
        assert last["type"] == "failed", last
        return ErrorCard.model_validate(last["error"])


@pytest.fixture
def trouble(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    return Trouble(bench, tmp_path, monkeypatch)


def _one_label(trouble: Trouble) -> ErrorCard:
    table = pyarrow.parquet.read_table(trouble.data)
    same = pyarrow.array(["only"] * len(table))
    pyarrow.parquet.write_table(table.set_column(table.schema.get_field_index("label"), "label", same), trouble.data)
    return trouble.card()


def _no_training_rows(trouble: Trouble) -> ErrorCard:
    table = pyarrow.parquet.read_table(trouble.data)
    test = pyarrow.array(["test"] * len(table))
    pyarrow.parquet.write_table(table.set_column(table.schema.get_field_index("split"), "split", test), trouble.data)
    return trouble.card()


def _no_input(trouble: Trouble) -> ErrorCard:
    trouble.data.unlink()
    return trouble.card()


class _Down(FolderStorage):
    """A store of which only the small files can be had."""

    def get_file(self, key: str, target: Path, sha256: str | None = None) -> None:
        raise InfraError("storage_unavailable", evidence=f"connection refused: {key}")


def _store_down(trouble: Trouble) -> ErrorCard:
    trouble.monkeypatch.setattr(inputs, "PATIENCE_S", 0.01)
    trouble.bench.storage = _Down(trouble.data.parent / "down")
    return trouble.card()


# Code → how it comes about, and what the card's evidence must say of it.
PROVOKED: dict[str, tuple[Callable[[Trouble], ErrorCard], str]] = {
    "parameters_invalid": (lambda trouble: trouble.card(epochs=0), r"^epochs: .*greater"),
    "template_unknown": (lambda trouble: trouble.card(template="fortune-telling"), r"fortune-telling"),
    "template_mismatch": (lambda trouble: trouble.card(template="image-classification"), r"image.*text"),
    "one_class_only": (_one_label, r"“only”"),
    "too_few_rows": (_no_training_rows, r"no training row"),
    "out_of_memory": (lambda trouble: trouble.card("little memory", vocabulary=200_000, channels=512, networks=10), ""),
    "not_finite": (lambda trouble: trouble.card("nan", epochs=2), r"step|learning rate"),
    "time_limit": (lambda trouble: trouble.card("endless", limit_s=1), r"limit is"),
    "engine_crashed": (lambda trouble: trouble.card("segfault"), r"signal 11"),
    "disk_full": (lambda trouble: trouble.card("full disk", epochs=1), r""),
    "storage_unavailable": (_store_down, r""),
    "input_corrupt": (lambda trouble: trouble.card(sha256="0" * 64), r"data\.parquet: sha256 [0-9a-f]{64}"),
    "artifact_missing": (_no_input, r"data\.parquet"),
    "parity_failed": (lambda trouble: trouble.card("mixed up export", epochs=3), r"answers differ"),
    "job_crashed": (lambda trouble: trouble.card("bug"), r"^ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("code", sorted(PROVOKED))
def test_a_failure_tells_cause_evidence_hint_and_repair(trouble: Trouble, code: str) -> None:
    provoke, evidence = PROVOKED[code]
    card = provoke(trouble)
    assert card.code == code, card
    assert card.message and card.hint
    assert card.evidence and re.search(evidence, card.evidence), card.evidence
    assert "/srv" not in card.evidence and str(trouble.bench.home) not in card.evidence
    assert (card.repair or {}).get("action") == REPAIRS.get(code)


def test_every_kind_of_failure_of_jobs_is_provoked() -> None:
    jobs = {code for code, entry in CATALOGUE.items() if entry.area == "Jobs"} | set(REPAIRS)
    assert set(PROVOKED) | set(ELSEWHERE) == jobs
    for path, name in ELSEWHERE.values():
        assert f"def {name}(" in (ROOT / path).read_text()
