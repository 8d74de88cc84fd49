"""An import that failed: its files are still there, and can be read otherwise."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from apps.datasets import actions, sources
from apps.datasets.models import DatasetVersion, Upload
from apps.teams.models import User
from tests.cast import Cast
from tests.datasets.conftest import stored
from workers.contracts.errors import JobError

Browser = Callable[[User], Client]


@pytest.fixture
def uploads(cast: Cast) -> list[Upload]:
    """Two files of Bob's."""
    return [stored(cast.bob, cast.ours.project, filename=name) for name in ("reviews.csv", "more.csv")]


@pytest.fixture
def failed(cast: Cast, uploads: list[Upload]) -> DatasetVersion:
    """An import of both that failed."""
    project = cast.ours.project
    found = sources.of_uploads(cast.bob, project.team, uploads)
    mapping = {"text": "label", "label": "text"}
    version = actions.create_dataset(
        actor=cast.bob, project=project, name="Films", kind="text", sources=found, mapping=mapping
    )
    return actions.fail_import(job=version.jobs.get(), error=JobError("no_rows").card())


def _again(cast: Cast, uploads: list[Upload]) -> str:
    """The address where the files can be looked at again."""
    return reverse("datasets:preview", args=[cast.ours.project.pk, ",".join(upload.pk for upload in uploads)])


def _shown(client: Client, version: DatasetVersion) -> str:
    return client.get(reverse("datasets:dataset", args=[version.dataset_id])).content.decode()


def test_its_files_need_not_be_sent_again(
    cast: Cast, uploads: list[Upload], failed: DatasetVersion, browser_of: Browser
) -> None:
    bob, again = browser_of(cast.bob), _again(cast, uploads)
    assert f'href="{again}"' in _shown(bob, failed)
    answer = bob.post(again, {"name": "Films", "kind": "text", "text-text": "text", "text-label": "label"})
    assert answer.status_code == 303, answer.content.decode()
    other = DatasetVersion.objects.exclude(dataset=failed.dataset).get(dataset__name="Films")
    assert (other.mapping, other.sources) == ({"text": "text", "label": "label"}, failed.sources)


def test_only_their_owner_is_offered_them(
    cast: Cast, uploads: list[Upload], failed: DatasetVersion, browser_of: Browser
) -> None:
    shown = _shown(browser_of(cast.alice), failed)
    assert _again(cast, uploads) not in shown and "Import another file" in shown


def test_files_of_which_one_is_gone_are_not_offered(
    cast: Cast, uploads: list[Upload], failed: DatasetVersion, browser_of: Browser
) -> None:
    uploads[1].delete()
    shown = _shown(browser_of(cast.bob), failed)
    assert "import it again" not in shown and "Import another file" in shown
