"""What is refused before a file is predicted, and what is forgotten afterwards."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.core.artifacts import storage
from apps.datasets.models import Upload
from apps.datasets.uploads import store_upload
from apps.predictions import actions
from apps.predictions.models import Prediction
from apps.predictions.specs import batch_part
from apps.projects.models import Project
from apps.registry.models import ModelVersion
from apps.teams.models import Team
from apps.training.models import Job
from tests.cast import Cast, make_rollup
from workers.contracts import names
from workers.contracts.errors import UserError
from workers.contracts.manifest import BatchResult

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


def stored(cast: Cast) -> Upload:
    content = b"text\ngood\n"
    return store_upload(
        actor=cast.bob, team=cast.ours.team, filename="rows.csv", stream=io.BytesIO(content), size=len(content)
    )


def create(cast: Cast, **options: Any) -> Prediction:
    upload = options.pop("upload", None) or stored(cast)
    model = ModelVersion.objects.select_related("project__team").get(pk=cast.ours.model.pk)
    return actions.create_prediction(actor=cast.bob, model=model, upload=upload, **options)


def spend(cast: Cast, requests: int, of: int) -> None:
    Team.objects.filter(pk=cast.ours.team.pk).update(monthly_requests=of)
    make_rollup(cast.ours.endpoint, requests)


def test_the_upload_becomes_the_prediction_and_is_used_once(cast: Cast) -> None:
    upload = stored(cast)
    made = create(cast, upload=upload, mapping={"text": "text"})
    assert (made.job.kind, made.job.state, made.job.queue) == ("batch", "queued", names.QUEUE_BATCH)
    assert made.source_key == upload.key and storage().exists(upload.key)
    with pytest.raises(UserError, match="upload_gone"):
        create(cast, upload=upload)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda cast: Project.objects.filter(pk=cast.ours.project.pk).update(archived=timezone.now()), "conflict"),
        (lambda cast: ModelVersion.objects.update(certificate={"passed": False}), "certificate_missing"),
        (lambda cast: spend(cast, 5, of=5), "quota_exceeded"),
    ],
)
def test_it_is_refused_before_anything_is_queued(cast: Cast, change: Any, code: str) -> None:
    change(cast)
    jobs = Job.objects.count()
    with pytest.raises(UserError, match=code):
        create(cast)
    assert Job.objects.count() == jobs


@pytest.mark.parametrize("mapping", [{"label": "x"}, {"user": "x"}])
def test_only_what_a_model_takes_can_be_mapped(cast: Cast, mapping: dict[str, str]) -> None:
    with pytest.raises(UserError) as refused:
        create(cast, mapping=mapping)
    assert refused.value.params["fields"][0]["field"] == "mapping"


def test_the_job_is_told_what_is_left_of_the_quota(cast: Cast) -> None:
    spend(cast, 3, of=5)
    made = Prediction.objects.select_related("project__team", "model").get(pk=create(cast).pk)
    assert batch_part(made)[1].requests_left == 2


def test_a_failed_one_goes_on_from_its_checkpoint_as_another_job(cast: Cast) -> None:
    made = create(cast)
    checkpoint = {"job": made.job_id, "attempt": 1, "step": 256, "files": []}
    Job.objects.filter(pk=made.job_id).update(state=Job.State.FAILED, checkpoint=checkpoint, ended=timezone.now())
    again = actions.retry_prediction(actor=cast.bob, job=Job.objects.get(pk=made.job_id))
    made.refresh_from_db()
    assert made.job_id == again.pk and Job.objects.get(pk=again.pk).checkpoint == checkpoint
    with pytest.raises(UserError, match="conflict"):
        actions.retry_prediction(actor=cast.bob, job=Job.objects.exclude(pk=again.pk).get(pk=checkpoint["job"]))


def test_files_and_answers_are_forgotten_a_month_after_the_end(cast: Cast) -> None:
    made = create(cast)
    key = f"{names.attempt_prefix(made.job_id, 1)}/output/predictions.csv"
    storage().put_bytes(b"answers", key)
    result = BatchResult(
        rows=1, failed=0, format="csv", columns=[], seconds=1.0, files={"predictions.csv": {"sha256": "0", "bytes": 7}}
    )
    actions.finish_prediction(job=made.job, result=result)
    ended = timezone.now() - actions.KEPT + timedelta(minutes=1)
    Job.objects.filter(pk=made.job_id).update(state=Job.State.SUCCEEDED, ended=ended)
    assert actions.forget_old() == 0 and storage().exists(key)
    Job.objects.filter(pk=made.job_id).update(ended=ended - timedelta(minutes=2))
    assert actions.forget_old() == 1
    assert not storage().exists(key) and not storage().exists(made.source_key)
    made.refresh_from_db()
    assert made.forgotten and not made.has_result and actions.forget_old() == 0


def test_what_every_try_has_left_is_forgotten(cast: Cast) -> None:
    made = create(cast)
    tries = [made.job_id]
    for _ in range(2):
        checkpoint = {"job": tries[-1], "attempt": 1, "step": 256, "files": []}
        Job.objects.filter(pk=tries[-1]).update(state=Job.State.FAILED, checkpoint=checkpoint, ended=timezone.now())
        tries.append(actions.retry_prediction(actor=cast.bob, job=Job.objects.get(pk=tries[-1])).pk)
    keys = [f"{names.attempt_prefix(job, 1)}/checkpoints/rows" for job in tries]
    for key in keys:
        storage().put_bytes(b"rows", key)
    ended = timezone.now() - actions.KEPT - timedelta(minutes=1)
    Job.objects.filter(pk=tries[-1]).update(state=Job.State.FAILED, ended=ended)
    assert actions.forget_old() == 1
    assert not any(storage().exists(key) for key in keys)
