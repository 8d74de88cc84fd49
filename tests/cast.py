"""The cast of every test with a database: Alice owns the team, Ada is an admin, Bob a member, Victor a viewer, and
Charlie is a stranger with a team of his own in which every text holds the canary.

A pytest plugin: `pytest_plugins = ["tests.cast"]` in conftest.py.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.datasets.models import Dataset, DatasetVersion
from apps.endpoints.models import Endpoint, Revision
from apps.projects.models import Project
from apps.registry.models import ModelVersion
from apps.teams.models import ApiKey, Membership, PersonalToken, Role, Team, User
from apps.training.models import Job
from apps.usage.histogram import BUCKETS
from apps.usage.models import MinuteRollup
from workers.contracts import keys, names

CANARY = "canary-of-charlie"
"""In every text of the stranger's team. No answer to anybody else may contain it."""


@dataclass(frozen=True)
class Belongings:
    """One of everything that a team can have, all in the state that allows most."""

    team: Team
    project: Project
    dataset: Dataset
    version: DatasetVersion
    job: Job
    model: ModelVersion
    endpoint: Endpoint
    key: ApiKey


@dataclass(frozen=True)
class Cast:
    """The people, the team's things (`ours`) and the stranger's (`theirs`)."""

    alice: User
    ada: User
    bob: User
    victor: User
    charlie: User
    ours: Belongings
    theirs: Belongings


@pytest.fixture
def cast(db: None) -> Cast:
    """Two teams, each with one of everything."""
    return make_cast()


def make_cast() -> Cast:
    """Two teams, each with one of everything."""
    alice, ada, bob, victor = (make_user(name) for name in ("alice", "ada", "bob", "victor"))
    charlie = make_user("charlie", name=f"Charlie {CANARY}")
    ours = make_belongings(alice, "Reviews", ada=ada, bob=bob, victor=victor)
    theirs = make_belongings(charlie, CANARY)
    return Cast(alice, ada, bob, victor, charlie, ours, theirs)


@pytest.fixture
def alice(cast: Cast) -> User:
    """The owner."""
    return cast.alice


@pytest.fixture
def ada(cast: Cast) -> User:
    """An admin."""
    return cast.ada


@pytest.fixture
def bob(cast: Cast) -> User:
    """A member."""
    return cast.bob


@pytest.fixture
def victor(cast: Cast) -> User:
    """A viewer."""
    return cast.victor


@pytest.fixture
def charlie(cast: Cast) -> User:
    """The stranger."""
    return cast.charlie


@pytest.fixture
def team(cast: Cast) -> Team:
    return cast.ours.team


@pytest.fixture
def project(cast: Cast) -> Project:
    return cast.ours.project


@pytest.fixture
def dataset(cast: Cast) -> Dataset:
    return cast.ours.dataset


@pytest.fixture
def version(cast: Cast) -> DatasetVersion:
    """A ready version of `dataset`; its files are in no storage."""
    return cast.ours.version


@pytest.fixture
def browser_of() -> Callable[[User], Client]:
    """A logged-in browser, CSRF checked as in real life: `browser_of(alice).get("/")`."""

    def login(user: User, *, csrf: bool = False) -> Client:
        client = Client(enforce_csrf_checks=csrf)
        client.force_login(user)
        return client

    return login


@pytest.fixture
def api_of() -> Callable[[User | None], APIClient]:
    """A program with a personal token of the user: `api_of(bob).get("/api/v1/me")`. None is nobody."""

    def authorise(user: User | None) -> APIClient:
        client = APIClient(enforce_csrf_checks=True)
        if user is not None:
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
        return client

    return authorise


def make_user(nick: str, **fields: Any) -> User:
    """A user without a password: `nick@example.com`, which is theirs for certain."""
    user = User.objects.create_user(f"{nick}@example.com", name=fields.pop("name", nick.title()), **fields)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def make_token(user: User) -> str:
    """The text of a fresh personal token."""
    new = keys.new_key(keys.PERSONAL_TOKEN)
    PersonalToken.objects.create(user=user, name="test", prefix=new.prefix, digest=new.digest)
    return new.text


def make_belongings(owner: User, word: str, **others: User) -> Belongings:
    """A team of `owner` in which every name contains `word`. Others join with the role their cast name stands for."""
    team = Team.objects.create(name=f"{word} team")
    Membership.objects.create(team=team, user=owner, role=Role.OWNER)
    for nick, user in others.items():
        Membership.objects.create(team=team, user=user, role=_ROLES[nick])
    project = Project.objects.create(team=team, name=f"{word} project", brief=f"{word} brief", created_by=owner)
    dataset = Dataset.objects.create(project=project, name=f"{word} data", kind="text", created_by=owner)
    version = make_version(dataset, word=word)
    job = make_job(version, name=f"{word} job", state=Job.State.SUCCEEDED)
    model = make_model(job)
    endpoint = make_endpoint(model, name=f"{word} endpoint")
    new = keys.new_key(keys.API_KEY)
    key = ApiKey.objects.create(team=team, name=f"{word} key", prefix=new.prefix, digest=new.digest, created_by=owner)
    return Belongings(team, project, dataset, version, job, model, endpoint, key)


_ROLES = {"ada": Role.ADMIN, "bob": Role.MEMBER, "victor": Role.VIEWER}


def make_version(dataset: Dataset, *, word: str = "", **fields: Any) -> DatasetVersion:
    """The next version of a dataset, ready by default."""
    version = DatasetVersion(dataset=dataset, number=dataset.versions.count() + 1, created_by=dataset.created_by)
    prefix = names.version_prefix(dataset.project.team_id, version.pk)
    defaults: dict[str, Any] = {
        "state": DatasetVersion.State.READY,
        "source_name": f"{word}.csv",
        "source_key": f"{prefix}/source",
        "mapping": {"text": "text", "label": "label"},
        "data_key": f"{prefix}/data.parquet",
        "errors_key": f"{prefix}/errors.csv",
        "content_hash": "0" * 64,
        "rows": 20,
        "columns": [{"name": "text", "type": "string"}, {"name": "label", "type": "string"}],
        "classes": {f"{word}good": 10, f"{word}bad": 10},
        "splits": {"train": 16, "validation": 2, "test": 2},
        "profile": {},
        "issues": [],
    }
    for name, value in {**defaults, **fields}.items():
        setattr(version, name, value)
    version.save()
    return version


def make_job(version: DatasetVersion, *, name: str, **fields: Any) -> Job:
    """A training job on a version."""
    now = timezone.now()
    defaults: dict[str, Any] = {
        "kind": Job.Kind.TRAIN,
        "queue": names.QUEUE_TRAIN_CPU,
        "template": "text-classification",
        "preset": "fast",
        "queued": now,
        "started": now,
        "ended": now,
    }
    return Job.objects.create(
        project=version.dataset.project,
        dataset_version=version,
        name=name,
        created_by=version.created_by,
        **{**defaults, **fields},
    )


def make_model(job: Job, **fields: Any) -> ModelVersion:
    """The certified model version of a job. Its bundle is in storage, but no model is in it."""
    bundle, key = f"bundle of {job.pk}".encode(), f"{names.attempt_prefix(job.pk, job.attempt)}/output/bundle.zip"
    storage().put_bytes(bundle, key)
    certificate = {
        "examples": 2,
        "label_flips": 0,
        "max_abs_difference": 0.0,
        "tolerance": 1e-4,
        "passed": True,
        "split": "test",
        "provider": "CPUExecutionProvider",
    }
    scores = {"accuracy": 0.5, "macro_f1": 0.5, "macro_precision": 0.5, "macro_recall": 0.5, "log_loss": 0.7}
    report = {"labels": list(job.dataset_version.classes), "splits": {}}
    defaults: dict[str, Any] = {
        "number": job.project.model_versions.count() + 1,
        "name": job.name,
        "template": job.template,
        "kind": job.dataset_version.dataset.kind,
        "preset": job.preset,
        "metrics": {"validation": scores, "test": scores},
        "report": report,
        "certificate": certificate,
        "manifest": {"labels": report["labels"]},
        "bundle_key": key,
        "bundle_sha256": hashlib.sha256(bundle).hexdigest(),
        "bundle_bytes": len(bundle),
    }
    return ModelVersion.objects.create(
        project=job.project, job=job, dataset_version=job.dataset_version, **{**defaults, **fields}
    )


def make_endpoint(model: ModelVersion, *, name: str) -> Endpoint:
    """An endpoint with all traffic on one revision of the model."""
    endpoint = Endpoint.objects.create(
        project=model.project,
        name=name,
        slug=f"{name.lower().replace(' ', '-')}-{model.pk[-6:]}",
        kind=model.kind,
        template=model.template,
    )
    Revision.objects.create(endpoint=endpoint, number=1, model=model, traffic=100)
    return endpoint


def make_rollup(endpoint: Endpoint, requests: int, *, minute: datetime | None = None) -> MinuteRollup:
    """So many answered requests in one minute."""
    return MinuteRollup.objects.create(
        minute=minute or timezone.now(),
        team_id=endpoint.project.team_id,
        project_id=endpoint.project_id,
        endpoint_id=endpoint.pk,
        status=200,
        requests=requests,
        items=requests,
        compute_us=1,
        latency_histogram=[0] * BUCKETS,
    )
