"""Lists cost the same however long they are, and read nothing that they do not show."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from apps.datasets.models import Dataset
from apps.endpoints import publish
from apps.teams.models import ApiKey, Invitation
from apps.training.models import Job
from tests.cast import Belongings, Cast, make_endpoint, make_job, make_model, make_version

# What may be megabytes of a version or a model, as a column of a query.
_HEAVY = re.compile(r'"(?:profile|issues|report)"')
_PAGES = [
    "/teams/{team}",
    "/projects/{project}",
    "/projects/{project}/datasets",
    "/projects/{project}/jobs",
    "/projects/{project}/models",
    "/projects/{project}/endpoints",
    "/projects/{project}/predictions",
]
_CALLS = ["/api/v1/datasets", "/api/v1/jobs", "/api/v1/models", "/api/v1/endpoints", "/api/v1/predictions"]


def add_one_of_each(ours: Belongings) -> None:
    dataset = Dataset.objects.create(project=ours.project, name="More", kind="text", created_by=ours.dataset.created_by)
    version = make_version(dataset)
    make_version(dataset)
    model = make_model(make_job(version, name="More", state=Job.State.SUCCEEDED))
    make_endpoint(model, name=f"More {model.number}")
    make_job(version, name="Running", state=Job.State.RUNNING, ended=None)


def queries_of(look: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert look().status_code == 200
    return [query["sql"] for query in captured]


@pytest.mark.parametrize("address", _PAGES + _CALLS)
def test_a_longer_list_takes_no_more_queries_and_reads_nothing_large(
    cast: Cast, redis_url: str, api_of: Callable[..., APIClient], browser_of: Callable[..., Client], address: str
) -> None:
    client = api_of(cast.alice) if address in _CALLS else browser_of(cast.alice)
    address = address.format(team=cast.ours.team.pk, project=cast.ours.project.pk)
    add_one_of_each(cast.ours)
    client.get(address)  # the session and the token are written
    before = queries_of(lambda: client.get(address))
    for _ in range(3):
        add_one_of_each(cast.ours)
    after = queries_of(lambda: client.get(address))
    assert len(after) == len(before)
    assert not [sql for sql in after if _HEAVY.search(sql)]


@pytest.mark.parametrize(
    ("address", "left_out"), [("/endpoints/{endpoint}", "teams_apikey|report"), ("/teams/{team}", "usage_minuterollup")]
)
def test_a_part_that_renews_itself_asks_for_no_more_than_it_shows(
    cast: Cast, redis_url: str, browser_of: Callable[..., Client], address: str, left_out: str
) -> None:
    client, address = browser_of(cast.alice), address.format(endpoint=cast.ours.endpoint.pk, team=cast.ours.team.pk)
    whole = queries_of(lambda: client.get(address))
    part = queries_of(lambda: client.get(address, headers={"HX-Request": "true"}))
    asked = re.compile(f'"(?:{left_out})"')
    assert [sql for sql in whole if asked.search(sql)]
    assert not [sql for sql in part if asked.search(sql)]


def test_what_is_published_every_few_seconds_reads_no_reports(cast: Cast, redis_url: str) -> None:
    with CaptureQueriesContext(connection) as captured:
        publish.build(1)
    assert not [query["sql"] for query in captured if _HEAVY.search(query["sql"])]


def test_a_teams_page_counts_what_is_there(cast: Cast, redis_url: str, browser_of: Callable[..., Client]) -> None:
    add_one_of_each(cast.ours)
    add_one_of_each(cast.ours)
    Dataset.objects.filter(name="More").update(trashed=timezone.now())
    page = browser_of(cast.alice).get(f"/teams/{cast.ours.team.pk}")
    (project,) = page.context["projects"]
    counts = (project.dataset_count, project.model_count, project.endpoint_count, project.active_count)
    assert counts == (1, 3, 3, 2)


def test_only_open_invitations_are_listed(cast: Cast, browser_of: Callable[..., Client]) -> None:
    now = timezone.now()
    for place, gone in enumerate(({"withdrawn": now}, {"accepted": now}, {"expires": now}, {})):
        fields = {"team": cast.ours.team, "role": "member", "invited_by": cast.alice, "digest": str(place)}
        later = {"expires": now + timedelta(days=1)}
        Invitation.objects.create(email=f"{place}@example.com", **{**fields, **later, **gone})
    page = browser_of(cast.alice).get(f"/teams/{cast.ours.team.pk}/members").content.decode()
    assert [f"{place}@example.com" in page for place in range(4)] == [False, False, False, True]


def test_keys_come_in_pages_those_that_hold_first(cast: Cast, browser_of: Callable[..., Client]) -> None:
    for number in range(30):
        fields = {"team": cast.ours.team, "prefix": f"swk_{number}", "digest": str(number)}
        ApiKey.objects.create(name=f"Key {number:02d}", revoked=timezone.now() if number % 2 else None, **fields)
    client, address = browser_of(cast.alice), f"/teams/{cast.ours.team.pk}/keys"
    shown = [client.get(address, {"page": number}).context["keys"] for number in (1, 2)]
    assert [len(keys) for keys in shown] == [25, 6]
    assert [bool(key.revoked) for keys in shown for key in keys] == [False] * 16 + [True] * 15
