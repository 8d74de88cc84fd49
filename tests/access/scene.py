"""What the walk finds: the cast's belongings, and the small things between them, with real files behind."""

import io
import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from django.utils import timezone

from apps.core import audit
from apps.core.artifacts import storage
from apps.datasets import actions as dataset_actions
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.endpoints.models import Endpoint
from apps.predictions.models import Prediction
from apps.projects.models import Comment, Milestone
from apps.teams import actions as team_actions
from apps.teams.models import Invitation, Membership, PersonalToken, User
from apps.training.models import Job
from apps.usage.models import LedgerFile
from tests.cast import CANARY, Belongings, Cast, make_endpoint, make_job, make_model, make_version
from workers.contracts import names

SENT = b"text,label\n" + b"good film,good\nbad film,bad\n" * 20
"""The bytes of each upload."""


@dataclass(frozen=True)
class Scene:
    """Objects of the team that addresses name. Bob's are his own: the upload, the token."""

    cast: Cast
    membership: Membership
    invitation: Invitation
    invitation_token: str
    token: PersonalToken
    milestone: Milestone
    upload: Upload
    queued: Job
    failed: Job
    photos: Dataset
    second: Endpoint
    file: LedgerFile
    prediction: Prediction
    waiting: Prediction
    stopped: Prediction


def make_scene(cast: Cast) -> Scene:
    """Both teams get files and small things; the stranger's hold the canary."""
    ours, theirs = cast.ours, cast.theirs
    _fill(ours, cast.alice, "fine")
    _fill(theirs, cast.charlie, CANARY)
    invitation, text = team_actions.invite_member(
        actor=cast.alice, team=ours.team, email="new@example.com", role="viewer"
    )
    team_actions.invite_member(actor=cast.charlie, team=theirs.team, email=f"{CANARY}@example.com", role="viewer")
    token, _ = team_actions.create_personal_token(actor=cast.bob, name="bob's")
    photos = Dataset.objects.create(project=ours.project, name="Photos", kind="image", created_by=cast.alice)
    _store(make_version(photos, rows=2), _photos())
    return Scene(
        cast=cast,
        membership=Membership.objects.get(team=ours.team, user=cast.victor),
        invitation=invitation,
        invitation_token=text,
        token=token,
        milestone=Milestone.objects.filter(project=ours.project)[0],
        upload=_upload(cast.bob, ours),
        queued=make_job(ours.version, name="Queued", state=Job.State.QUEUED, started=None, ended=None),
        failed=make_job(ours.version, name="Failed", state=Job.State.FAILED, error=_card("fine")),
        photos=photos,
        second=_second(ours),
        file=_file(ours),
        prediction=_prediction(ours, "fine", Job.State.SUCCEEDED),
        waiting=_prediction(ours, "fine", Job.State.QUEUED),
        stopped=_prediction(ours, "fine", Job.State.FAILED),
    )


def _fill(belongings: Belongings, owner: User, word: str) -> None:
    project = belongings.project
    Comment.objects.create(project=project, author=owner, text=f"{word} comment")
    Milestone.objects.create(project=project, title=f"{word} milestone")
    audit.record(actor=owner, team=belongings.team, project=project, event="project.updated", noun=project, word=word)
    make_job(belongings.version, name=f"{word} failed", state=Job.State.FAILED, error=_card(word))
    _store(belongings.version, _texts(word))
    _upload(owner, belongings, filename=f"{word}.csv")
    _prediction(belongings, word, Job.State.SUCCEEDED)


def _file(ours: Belongings) -> LedgerFile:
    """An hour of the ledger that has been exported."""
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    file = LedgerFile.objects.create(team_id=ours.team.pk, hour=hour, part=1, through=1, rows=1, bytes=4, sha256="0")
    storage().put_bytes(b"rows", file.key)
    return file


def _second(ours: Belongings) -> Endpoint:
    """An endpoint with something to go back to."""
    endpoint = make_endpoint(ours.model, name="Second")
    model = make_model(make_job(ours.version, name="Second", state=Job.State.SUCCEEDED))
    candidate = endpoint.revisions.create(number=2, model=model, traffic=100, previous_traffic=0)
    first = endpoint.revisions.get(number=1)
    endpoint.rollouts.create(candidate=candidate, max_p99_ms=50.0, before={first.pk: 100})
    endpoint.revisions.filter(number=1).update(traffic=0, previous_traffic=100)
    return endpoint


def _prediction(belongings: Belongings, word: str, state: str) -> Prediction:
    """A file that is predicted, was, or could not be."""
    job = make_job(belongings.version, name=f"{word}.csv", kind=Job.Kind.BATCH, state=state)
    answered, output = state == Job.State.SUCCEEDED, f"{names.attempt_prefix(job.pk, 1)}/output/predictions.csv"
    if answered:
        storage().put_bytes(f"text,label,score,error\n{word},good,0.9,\n".encode(), output)
    return Prediction.objects.create(
        project=belongings.project,
        job=job,
        model=belongings.model,
        endpoint=belongings.endpoint,
        source_key=f"{output}.source",
        source_name=f"{word}.csv",
        source_bytes=20,
        rows=1,
        preview={"columns": ["text", "label"], "rows": [[word, "good"]]},
        columns=["label", "score", "error"],
        labels={"good": 1},
        result_key=output if answered else "",
    )


def _card(word: str) -> dict[str, object]:
    return {"code": "not_finite", "message": word, "hint": word, "evidence": word, "repair": None}


def _upload(owner: User, belongings: Belongings, filename: str = "rows.csv") -> Upload:
    return dataset_actions.store_upload(
        actor=owner, team=belongings.team, filename=filename, stream=io.BytesIO(SENT), size=len(SENT)
    )


def _texts(word: str) -> pa.Table:
    texts = [f"{word} {number}" for number in range(20)]
    return _rows(20, text=texts, label=[f"{word} {number % 2}" for number in range(20)])


def _photos() -> pa.Table:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(buffer, "PNG")
    images = [buffer.getvalue()] * 2
    return _rows(2, image=images, label=["a", "b"], name=["a/1.png", "b/1.png"], format=["png"] * 2)


def _rows(count: int, **columns: list[object]) -> pa.Table:
    return pa.table({"row": list(range(count)), "split": ["train"] * count, "hash": ["0" * 32] * count, **columns})


def _store(version: DatasetVersion, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    storage().put_bytes(buffer.getvalue(), version.data_key)
    errors = f"line,code,message,text\n3,text_missing,{json.dumps(version.source_name)},\n"
    storage().put_bytes(errors.encode(), version.errors_key)
