"""What a project's page says is next."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.datasets.models import Dataset, DatasetVersion
from apps.projects import pipeline
from apps.projects.models import Project
from apps.teams.models import User
from apps.training.models import Job
from tests.cast import Cast, make_endpoint, make_job, make_model, make_rollup, make_version


@pytest.fixture
def empty(cast: Cast) -> Project:
    """A project in which nothing has happened."""
    return Project.objects.create(team=cast.ours.team, name="Fresh", created_by=cast.alice)


def dataset_of(project: Project, alice: User, **fields: object) -> DatasetVersion:
    dataset = Dataset.objects.create(project=project, name="Reviews", kind="text", created_by=alice)
    return make_version(dataset, **fields)


def next_step(project: Project) -> tuple[str, str, str]:
    step = pipeline.current(pipeline.steps(project))
    return step.key, step.state, step.target


def test_an_empty_project_asks_for_data(empty: Project) -> None:
    assert next_step(empty) == ("data", "next", f"/projects/{empty.pk}/datasets/new")


def test_a_running_import_is_watched(empty: Project, alice: User) -> None:
    version = dataset_of(empty, alice, state="processing")
    assert next_step(empty) == ("data", "active", f"/datasets/{version.dataset_id}")
    assert pipeline.is_moving(pipeline.steps(empty))


def test_a_failed_import_is_looked_at(empty: Project, alice: User) -> None:
    version = dataset_of(empty, alice, state="failed", error={"code": "no_rows", "message": "No rows."})
    assert next_step(empty) == ("data", "failed", f"/datasets/{version.dataset_id}")


def test_ready_data_is_trained_on(empty: Project, alice: User) -> None:
    version = dataset_of(empty, alice)
    assert next_step(empty) == ("train", "next", f"/projects/{empty.pk}/jobs/new?dataset={version.dataset_id}")


@pytest.mark.parametrize(("state", "shown"), [("queued", "active"), ("running", "active"), ("failed", "failed")])
def test_the_newest_training_is_watched_or_looked_at(empty: Project, alice: User, state: str, shown: str) -> None:
    job = make_job(dataset_of(empty, alice), name="Sorter", state=state)
    assert next_step(empty) == ("train", shown, f"/jobs/{job.pk}")


def test_a_certified_model_is_deployed(empty: Project, alice: User) -> None:
    model = make_model(make_job(dataset_of(empty, alice), name="Sorter", state=Job.State.SUCCEEDED))
    assert next_step(empty) == ("deploy", "next", f"/projects/{empty.pk}/endpoints/new?model={model.pk}")


def test_an_endpoint_without_requests_is_tried(empty: Project, alice: User) -> None:
    model = make_model(make_job(dataset_of(empty, alice), name="Sorter", state=Job.State.SUCCEEDED))
    endpoint = make_endpoint(model, name="Inbox")
    assert next_step(empty) == ("usage", "next", f"/endpoints/{endpoint.pk}")


@pytest.mark.parametrize(("ago", "text"), [(0, "7 requests this month"), (32, "0 requests this month")])
def test_an_endpoint_that_was_called_is_in_use(empty: Project, alice: User, ago: int, text: str) -> None:
    model = make_model(make_job(dataset_of(empty, alice), name="Sorter", state=Job.State.SUCCEEDED))
    make_rollup(make_endpoint(model, name="Inbox"), 7, minute=timezone.now() - timedelta(days=ago))
    last = pipeline.steps(empty)[-1]
    assert (last.state, last.text) == ("done", text)


def test_a_second_training_does_not_hide_the_model_of_the_first(empty: Project, alice: User) -> None:
    version = dataset_of(empty, alice)
    make_model(make_job(version, name="Sorter", state=Job.State.SUCCEEDED))
    make_job(version, name="Sorter again", state=Job.State.RUNNING)
    steps = {step.key: step.state for step in pipeline.steps(empty)}
    assert (steps["train"], steps["evaluate"], steps["deploy"]) == ("active", "done", "next")
