"""Projects, their comments and milestones, by the API."""

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from apps.core.models import AuditEntry
from apps.projects.models import Project
from apps.teams.models import Membership, Role, Team
from tests.cast import CANARY, Cast, make_user

ApiOf = Callable[..., APIClient]
PROJECTS = "/api/v1/projects"


@pytest.fixture
def client(cast: Cast, api_of: ApiOf) -> APIClient:
    return api_of(cast.bob)


def test_a_project_is_made_in_the_first_team_that_one_may_write_to(cast: Cast, client: APIClient) -> None:
    # A team where Bob only looks comes before in time.
    looked_at = Team.objects.create(name="Looked at")
    Membership.objects.filter(user=cast.bob).delete()
    Membership.objects.create(team=looked_at, user=cast.bob, role=Role.VIEWER)
    Membership.objects.create(team=cast.ours.team, user=cast.bob, role=Role.MEMBER)
    reply = client.post(PROJECTS, {"name": " Churn "})
    assert reply.status_code == 201
    assert (reply.json()["name"], reply.json()["team"]) == ("Churn", cast.ours.team.pk)


def test_whoever_may_write_to_no_team_is_told_so(db: None, api_of: ApiOf) -> None:
    reply = api_of(make_user("nina")).post(PROJECTS, {"name": "Churn"})
    assert (reply.status_code, reply.json()["error"]["params"]["fields"][0]["field"]) == (422, "team")


def test_the_list_holds_ones_own_and_is_paged(cast: Cast, client: APIClient) -> None:
    Project.objects.bulk_create(Project(team=cast.ours.team, name=f"Project {number}") for number in range(60))
    first = client.get(PROJECTS).json()
    assert len(first["results"]) == 50
    second = client.get(first["next"]).json()
    assert (len(second["results"]), second["next"]) == (11, None)
    assert CANARY not in str(first) + str(second)


def test_an_archived_project_leaves_the_list_and_comes_back(cast: Cast, api_of: ApiOf) -> None:
    client, address = api_of(cast.ada), f"{PROJECTS}/{cast.ours.project.pk}"
    assert client.patch(address, {"archived": True}).json()["archived"]
    assert client.get(PROJECTS).json()["results"] == []
    assert client.get(address).status_code == 200
    assert client.patch(address, {"archived": False}).json()["archived"] is None
    assert len(client.get(PROJECTS).json()["results"]) == 1


def test_a_change_says_what_it_changed(cast: Cast, client: APIClient) -> None:
    client.patch(f"{PROJECTS}/{cast.ours.project.pk}", {"name": "Renamed", "brief": cast.ours.project.brief})
    entry = AuditEntry.objects.get(event="project.updated")
    assert (entry.data["changed"], entry.actor, entry.noun_name) == (["name"], cast.bob, "Renamed")
    assert entry.request_id


@pytest.mark.parametrize("field", ["id", "team", "created", "created_by", "is_staff", "state"])
def test_other_fields_are_not_taken(cast: Cast, client: APIClient, field: str) -> None:
    before = Project.objects.filter(pk=cast.ours.project.pk).values().get()
    reply = client.patch(f"{PROJECTS}/{cast.ours.project.pk}", {"name": "New", field: cast.theirs.team.pk})
    assert reply.status_code == 422
    assert Project.objects.filter(pk=cast.ours.project.pk).values().get() == before


def test_a_milestone_is_reached_once(cast: Cast, client: APIClient) -> None:
    address = f"{PROJECTS}/{cast.ours.project.pk}/milestones"
    made = client.post(address, {"title": "Beta", "due": "2027-01-31"}).json()
    assert client.post(f"{address}/{made['id']}/complete").json()["done"]
    assert client.post(f"{address}/{made['id']}/complete").status_code == 409


def test_comments_are_told_in_order_with_their_authors(cast: Cast, api_of: ApiOf) -> None:
    address = f"{PROJECTS}/{cast.ours.project.pk}/comments"
    api_of(cast.bob).post(address, {"text": "First"})
    api_of(cast.alice).post(address, {"text": "Second"})
    found = api_of(cast.victor).get(address).json()["results"]
    assert [(row["author"], row["text"]) for row in found] == [(cast.bob.email, "First"), (cast.alice.email, "Second")]
