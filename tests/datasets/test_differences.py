"""What changed between two versions, by the API."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from apps.datasets import actions
from apps.datasets.models import Dataset, DatasetVersion
from tests.cast import Cast
from tests.datasets.conftest import REVIEWS, ApiOf, Imported, created

TWICE = b"mail a@b.example,bad\na film twice,good\na film twice,good\n"


@pytest.fixture
def client(cast: Cast, api_of: ApiOf) -> APIClient:
    return api_of(cast.bob)


def edited(cast: Cast, imported: Imported, dataset: Dataset, *changes: dict[str, Any]) -> DatasetVersion:
    return imported(actions.correct_rows(actor=cast.bob, dataset=dataset, changes=list(changes)))


def diff(client: APIClient, dataset: Dataset, **query: Any) -> dict[str, Any]:
    reply = client.get(f"/api/v1/datasets/{dataset.pk}/diff", query)
    assert reply.status_code == 200, reply.json()
    found: dict[str, Any] = reply.json()
    return found


def counts(client: APIClient, dataset: Dataset, first: int, second: int) -> dict[str, int]:
    found: dict[str, int] = diff(client, dataset, **{"from": first, "to": second})["counts"]
    return {change: count for change, count in found.items() if count}


def test_every_kind_of_change_is_told(client: APIClient, cast: Cast, imported: Imported) -> None:
    dataset = imported(created(cast.bob, cast.ours.project, REVIEWS + TWICE)).dataset
    edited(cast, imported, dataset, {"row": 0, "label": "fine"}, {"row": 1, "drop": True})
    rows = client.get(f"/api/v1/datasets/{dataset.pk}/rows", {"split": "train"}).json()["results"]
    edited(cast, imported, dataset, {"row": 0, "text": "another film"}, {"row": rows[5]["row"], "split": "test"})
    imported(actions.repair_version(actor=cast.bob, dataset=dataset, code="text_personal"))
    imported(actions.repair_version(actor=cast.bob, dataset=dataset, code="duplicate_rows"))
    actions.restore_version(actor=cast.bob, version=dataset.versions.get(number=2))
    assert counts(client, dataset, 1, 2) == {"relabelled": 1, "removed": 1}
    assert counts(client, dataset, 2, 3) == {"changed": 1, "moved": 1}
    assert counts(client, dataset, 3, 5) == {"changed": 1, "removed": 1}
    assert counts(client, dataset, 1, 5) == {"relabelled": 1, "removed": 2, "changed": 2, "moved": 1}
    assert counts(client, dataset, 5, 1) == {"relabelled": 1, "added": 2, "changed": 2, "moved": 1}
    assert counts(client, dataset, 2, 6) == {}
    assert counts(client, dataset, 4, 6) == {"changed": 2, "moved": 1}

    (row,) = diff(client, dataset, **{"from": 1, "to": 2, "change": "relabelled"})["results"]
    assert (row["from_row"], row["to_row"]) == (0, 0)
    assert (row["before"]["label"], row["after"]["label"]) == ("good", "fine")
    gone = diff(client, dataset, **{"from": 1, "change": "removed", "to": 2})["results"]
    assert [(row["from_row"], row["to_row"], row["after"]) for row in gone] == [(1, None, None)]
    assert gone[0]["before"]["text"] == "a bad film number 0"


def test_versions_that_nothing_links_are_compared_by_their_items(
    client: APIClient, cast: Cast, imported: Imported
) -> None:
    dataset = imported(created(cast.bob, cast.ours.project, REVIEWS + TWICE)).dataset
    edited(cast, imported, dataset, {"row": 0, "label": "bad"}, {"row": 42, "drop": True}, {"row": 5, "text": "new"})
    dataset.versions.filter(number=2).update(lineage_key="")
    assert counts(client, dataset, 1, 2) == {"relabelled": 1, "removed": 2, "added": 1}
    gone = diff(client, dataset, **{"from": 1, "change": "removed"})["results"]
    assert [row["before"]["text"] for row in gone] == ["a bad film number 2", "a film twice"]


def test_changes_are_paged(client: APIClient, cast: Cast, imported: Imported) -> None:
    dataset = imported(created(cast.bob, cast.ours.project, REVIEWS * 2)).dataset
    edited(cast, imported, dataset, *({"row": row, "label": "other"} for row in range(60)))
    first = diff(client, dataset, **{"from": 1})
    second = client.get(first["next"]).json()
    assert [row["to_row"] for row in first["results"] + second["results"]] == list(range(60))
    assert second["next"] is None
    reply = client.get(f"/api/v1/datasets/{dataset.pk}/diff", {"from": 1, "change": "better"})
    assert reply.status_code == 422
