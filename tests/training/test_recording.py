"""The recorder's half of training: what runners say becomes the truth in the database, once and in order."""

import json
from typing import Any

import pytest

from apps.datasets.models import DatasetVersion
from apps.registry.models import ModelVersion
from apps.training.models import Attempt, Job, JobEvent, MetricPoint
from apps.training.outcomes import MAX_ATTEMPTS
from apps.training.recording import PoisonEntry, apply, apply_entry
from tests.cast import Cast, make_version
from tests.training.stories import BUNDLE, Teller, ingest_result, queued, train_result
from workers.contracts.errors import JobError
from workers.contracts.events import RUNNER_STOPPED

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(version: DatasetVersion) -> Job:
    return queued(version)


def test_a_started_job_runs(job: Job) -> None:
    job = Teller(job).start()
    assert (job.state, job.runner, job.device) == ("running", "runner-1", "cpu (2 cores)")
    assert job.started is not None
    assert job.attempts.get().number == 1


def test_progress_metrics_and_device_are_kept(job: Job) -> None:
    teller = Teller(job)
    teller.start()
    teller.say("device", device="cuda: NVIDIA H200")
    teller.say("progress", fraction=0.25, phase="training", eta_seconds=90)
    teller.say("metric", step=1, values={"train/loss": 2.0})
    job = teller.say("metric", step=2, values={"train/loss": 1.0, "validation/accuracy": 0.5})
    assert (job.progress, job.phase, job.eta_seconds, job.device) == (0.25, "training", 90, "cuda: NVIDIA H200")
    assert job.metrics == {"train/loss": 1.0, "validation/accuracy": 0.5}
    assert list(job.metric_points.filter(name="train/loss").values_list("step", "value")) == [(1, 2.0), (2, 1.0)]


def test_a_trial_is_what_was_last_said_of_it(job: Job) -> None:
    teller = Teller(job)
    teller.start()
    setting = {"number": 1, "parameters": {"learning_rate": 0.01, "lowercase": True}}
    teller.say("trial", **setting, state="running")
    early = teller.entry("trial", **setting, state="running", scores=[(0, 0.5)], score=0.5)
    late = teller.entry("trial", **setting, state="complete", scores=[(0, 0.5), (1, 0.75)], score=0.75, seconds=2.5)
    for entry in (late, early, late):
        apply_entry(entry)
    trial = job.trials.get()
    assert (trial.state, trial.score, trial.seconds) == ("complete", 0.75, 2.5)
    assert (trial.parameters, trial.scores) == (setting["parameters"], [[0, 0.5], [1, 0.75]])


def test_an_attempt_tells_the_trials_that_it_goes_on_from_again(job: Job) -> None:
    first = Teller(job)
    first.start()
    for number in (1, 2):
        first.say("trial", number=number, parameters={"dropout": 0.5}, state="complete", score=0.5)
    first.checkpoint(0)
    first.say("interrupted", reason="The runner is gone.")
    second = Teller(job, attempt=2)
    second.start(resumed_from_step=0)
    assert not job.trials.exists()
    second.say("trial", number=1, parameters={"dropout": 0.5}, state="complete", score=0.5)
    assert [trial.number for trial in job.trials.all()] == [1]


@pytest.mark.parametrize(
    "trial",
    [
        {"number": 0, "parameters": {}, "state": "running"},
        {"number": 1, "parameters": {"a": {"b": 1}}, "state": "running"},
        {"number": 1, "parameters": {"a": "x" * 201}, "state": "running"},
        {"number": 1, "parameters": {}, "state": "won"},
        {"number": 1, "parameters": {}, "state": "complete", "score": float("nan")},
    ],
)
def test_a_trial_that_is_none_is_set_aside(job: Job, trial: dict[str, Any]) -> None:
    teller = Teller(job)
    teller.start()
    event = json.dumps({"type": "trial", "time": 1.0, **trial})
    with pytest.raises(PoisonEntry):
        apply_entry({"job": job.pk, "attempt": "1", "seq": "2", "event": event})
    assert not job.trials.exists()


def test_a_training_that_succeeds_has_a_model(job: Job, version: DatasetVersion) -> None:
    teller = Teller(job)
    teller.start()
    job = teller.say("succeeded", result=train_result(version, job))
    model = ModelVersion.objects.get(job=job)
    assert (job.state, job.progress, job.metrics["test"]) == ("succeeded", 1.0, {"accuracy": 0.8})
    assert (model.number, model.bundle_sha256, model.parameters) == (2, "b" * 64, {"epochs": 3})
    assert model.bundle_key == f"jobs/{job.pk}/attempts/1/output/bundle.zip"
    assert job.attempts.get().outcome == "succeeded"


def test_the_newest_training_on_a_version_says_which_labels_look_wrong(cast: Cast, version: DatasetVersion) -> None:
    other = make_version(cast.ours.dataset)
    keys = []
    for _ in range(2):
        job = queued(version)
        teller = Teller(job)
        teller.start()
        result = train_result(version, job)
        teller.say("succeeded", result=result | {"files": BUNDLE | {"suspects.parquet": BUNDLE["bundle.zip"]}})
        version.refresh_from_db()
        keys.append(version.suspects_key)
        assert keys[-1] == f"jobs/{job.pk}/attempts/1/output/suspects.parquet"
    teller = Teller(queued(version))
    teller.start()
    teller.say("succeeded", result=train_result(version, teller.job))
    version.refresh_from_db()
    other.refresh_from_db()
    assert (version.suspects_key, other.suspects_key) == (keys[1], "")


def test_an_ingest_that_succeeds_makes_its_version_ready(cast: Cast) -> None:
    version = make_version(cast.ours.dataset, state=DatasetVersion.State.PROCESSING, rows=0)
    teller = Teller(queued(version, kind=Job.Kind.INGEST))
    teller.start()
    assert teller.say("succeeded", result=ingest_result()).state == "succeeded"
    version.refresh_from_db()
    assert (version.state, version.rows, version.rejected) == ("ready", 3, 1)


def test_an_ingest_that_fails_tells_its_version_why(cast: Cast) -> None:
    version = make_version(cast.ours.dataset, state=DatasetVersion.State.PROCESSING, rows=0)
    teller = Teller(queued(version, kind=Job.Kind.INGEST))
    teller.start()
    assert teller.say("failed", error=JobError("no_rows").card()).state == "failed"
    version.refresh_from_db()
    assert version.state == "failed"
    assert version.error and version.error["code"] == "no_rows"


def test_an_ingest_that_fails_tells_the_rows_that_it_rejected(cast: Cast) -> None:
    version = make_version(cast.ours.dataset, state=DatasetVersion.State.PROCESSING, rows=0)
    teller = Teller(queued(version, kind=Job.Kind.INGEST))
    teller.start()
    card = JobError("no_rows").card()
    told = ingest_result() | {"rows": 0, "error": card.model_dump(), "files": {"errors.csv": BUNDLE["bundle.zip"]}}
    assert teller.say("failed", error=card, result=told).state == "failed"
    version.refresh_from_db()
    assert (version.state, version.rows, version.rejected, version.issues) == ("failed", 0, 1, told["issues"])
    assert version.errors_key == f"jobs/{teller.job.pk}/attempts/1/output/errors.csv"


def test_a_failure_is_a_card(job: Job) -> None:
    teller = Teller(job)
    teller.start()
    card = JobError("out_of_memory", evidence="at batch 3", repair={"action": "retry"}).card()
    job = teller.say("failed", error=card)
    assert job.state == "failed"
    assert job.error == card.model_dump()


@pytest.mark.parametrize("result", [{}, {"files": {}}, {"metrics": "many"}])
def test_a_result_that_makes_no_sense_fails_the_job(job: Job, result: dict[str, Any]) -> None:
    teller = Teller(job)
    teller.start()
    job = teller.say("succeeded", result=result)
    assert job.error and job.error["code"] == "job_crashed"


def test_a_training_without_a_bundle_fails(job: Job, version: DatasetVersion) -> None:
    teller = Teller(job)
    teller.start()
    job = teller.say("succeeded", result={**train_result(version, job), "files": {}})
    assert job.error and job.error["code"] == "bundle_invalid"
    assert not ModelVersion.objects.filter(job=job).exists()


def test_the_same_entry_twice_changes_nothing(job: Job, version: DatasetVersion) -> None:
    teller = Teller(job)
    entries = [
        teller.entry("started", runner="r", device="cpu"),
        teller.entry("metric", step=1, values={"train/loss": 2.0}),
        teller.entry("checkpoint", step=5, files=[{"name": "s", "sha256": "c" * 64, "bytes": 1}]),
        teller.entry("succeeded", result=train_result(version, job)),
    ]
    apply(("0-1", entry) for entry in entries)
    before = _everything()
    apply(("0-1", entry) for entry in [*entries, *reversed(entries)])
    assert _everything() == before


def _everything() -> list[list[dict[str, Any]]]:
    return [list(kind.objects.order_by("pk").values()) for kind in (Job, Attempt, JobEvent, MetricPoint, ModelVersion)]


def test_an_older_attempt_is_not_heard(job: Job) -> None:
    first = Teller(job)
    first.start()
    job = first.say("interrupted", reason="killed")
    assert (job.attempt, job.state) == (2, "queued")
    first.say("progress", fraction=0.9, phase="of the past")
    job = first.say("failed", error=JobError("not_finite").card())
    assert (job.attempt, job.state, job.progress) == (2, "queued", 0.0)


def test_an_entry_that_comes_late_adds_what_it_measured_and_turns_nothing_back(job: Job) -> None:
    teller = Teller(job)
    teller.start()
    late = teller.entry("metric", step=1, values={"train/loss": 2.0})
    stale = teller.entry("progress", fraction=0.1, phase="early")
    teller.say("metric", step=2, values={"train/loss": 1.0})
    teller.say("progress", fraction=0.8, phase="late")
    apply_entry(late)
    apply_entry(stale)
    job.refresh_from_db()
    assert job.metrics == {"train/loss": 1.0}
    assert (job.progress, job.phase) == (0.8, "late")
    assert job.metric_points.count() == 2


def test_a_metric_after_the_end_is_kept_and_the_end_stands(job: Job) -> None:
    teller = Teller(job)
    teller.start()
    teller.say("failed", error=JobError("not_finite").card())
    job = teller.say("metric", step=9, values={"train/loss": 1.0})
    assert job.state == "failed"
    assert job.metric_points.get().step == 9
    job = teller.say("cancelled")
    assert job.state == "failed"


def test_a_lost_first_event_does_not_keep_a_job_queued(job: Job) -> None:
    job = Teller(job).say("progress", fraction=0.5, phase="training")
    assert job.state == "running"
    assert job.started is not None


def test_an_interrupted_job_goes_on_from_its_checkpoint_and_books_what_was_lost(job: Job) -> None:
    teller = Teller(job)
    teller.start()  # second 1
    teller.checkpoint(100)  # second 2
    teller.say("progress", fraction=0.5, phase="training")  # second 3
    job = teller.say("interrupted", reason="The job's process was killed (SIGKILL).")  # second 4
    assert (job.state, job.attempt, job.sent, job.last_seq) == ("queued", 2, None, 0)
    assert job.checkpoint and job.checkpoint["step"] == 100
    attempt = job.attempts.get()
    assert (attempt.outcome, attempt.lost_seconds) == ("interrupted", 2.0)


def test_a_resumed_attempt_measures_anew_what_came_after_its_checkpoint(job: Job) -> None:
    first = Teller(job)
    first.start()
    for step in (1, 2, 3):
        first.say("metric", step=step, values={"train/loss": 1.0})
    first.say("interrupted", reason="killed")
    second = Teller(job, attempt=2)
    second.start(resumed_from_step=1)
    assert [point.step for point in job.metric_points.all()] == [1]
    second.say("metric", step=2, values={"train/loss": 0.5})
    assert list(job.metric_points.values_list("step", "value")) == [(1, 1.0), (2, 0.5)]


def test_a_job_that_is_interrupted_too_often_fails(job: Job) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        teller = Teller(job, attempt)
        teller.start()
        job = teller.say("interrupted", reason="killed")
    assert job.state == "failed"
    assert job.error and job.error["code"] == "attempts_exhausted"
    assert job.error["evidence"] == "killed"


def test_a_job_that_gets_further_each_time_is_not_given_up(job: Job) -> None:
    for attempt in range(1, 2 * MAX_ATTEMPTS):
        teller = Teller(job, attempt)
        teller.start(**({"resumed_from_step": (attempt - 1) * 10} if attempt > 1 else {}))
        teller.checkpoint(attempt * 10)
        job = teller.say("interrupted", reason="killed")
    assert job.state == "queued"
    for attempt in range(job.attempt, job.attempt + MAX_ATTEMPTS):
        teller = Teller(job, attempt)
        teller.start(resumed_from_step=job.checkpoint["step"])  # type: ignore[index]
        teller.checkpoint(job.checkpoint["step"])  # type: ignore[index]
        job = teller.say("interrupted", reason="killed")
    assert job.state == "failed"


def test_runners_that_are_stopped_in_good_order_cost_no_attempt(job: Job) -> None:
    for attempt in range(1, MAX_ATTEMPTS + 3):
        teller = Teller(job, attempt)
        teller.start()
        job = teller.say("interrupted", reason=RUNNER_STOPPED)
    assert (job.state, job.attempt) == ("queued", MAX_ATTEMPTS + 3)


def test_a_job_that_was_to_be_cancelled_is_not_run_again(job: Job) -> None:
    teller = Teller(job)
    job = teller.start()
    Job.objects.filter(pk=job.pk).update(cancel_requested=job.started)
    assert teller.say("interrupted", reason="killed").state == "cancelled"


def _broken(**changes: str) -> dict[str, str]:
    good = {"job": "job_" + "a" * 24, "attempt": "1", "seq": "1", "event": '{"type":"cancelled","time":1}'}
    return {**good, **changes}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        _broken(),
        _broken(attempt="-1"),
        _broken(seq="1e5"),
        _broken(seq="١"),
        _broken(event="{"),
        _broken(event='{"type": "promoted", "time": 1}'),
        _broken(event='{"type": "cancelled", "time": 1e308}'),
        _broken(event='{"type": "log", "time": 1, "message": "\\u0000"}'),
        _broken(job="\x00"),
        {b"job": b"\xff", b"attempt": b"1", b"seq": b"1", b"event": b"{}"},
    ],
)
def test_a_poisoned_entry_is_named_as_such(db: None, fields: dict[Any, Any]) -> None:
    with pytest.raises(PoisonEntry):
        apply_entry(fields)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "metric", "step": 2**63, "values": {"loss": 1.0}},
        {"type": "metric", "step": 1, "values": {"x" * 81: 1.0}},
        {"type": "metric", "step": 1, "values": {"loss": float("inf")}},
        {"type": "checkpoint", "step": 1, "files": [{"name": "../x", "sha256": "c" * 64, "bytes": 1}]},
        {"type": "log", "message": "x" * 5000},
    ],
)
def test_an_event_beyond_the_contract_is_poison(job: Job, event: dict[str, Any]) -> None:
    with pytest.raises(PoisonEntry):
        apply_entry({"job": job.pk, "attempt": "1", "seq": "1", "event": json.dumps({"time": 1, **event})})
    assert not JobEvent.objects.filter(job=job).exists()


def test_letters_that_only_look_like_a_nul_are_letters(job: Job) -> None:
    Teller(job).say("log", message="Write \\u0000, not a NUL.")
    assert JobEvent.objects.get(job=job).data["message"] == "Write \\u0000, not a NUL."


def test_an_attempt_that_was_never_queued_is_poison(job: Job) -> None:
    with pytest.raises(PoisonEntry):
        Teller(job, attempt=2).start()


def test_entries_of_bytes_are_read_as_well(job: Job) -> None:
    entry = Teller(job).entry("started", runner="r", device="cpu")
    apply_entry({name.encode(): value.encode() for name, value in entry.items()})
    job.refresh_from_db()
    assert job.state == "running"
