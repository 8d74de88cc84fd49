"""Repairs by the API: seen first, then made, as a version of which each row is known to have come from where."""

import pytest
from rest_framework.test import APIClient

from apps.core.models import AuditEntry
from apps.datasets import actions
from apps.datasets.models import Dataset
from tests.cast import Cast
from tests.datasets.conftest import REVIEWS, ApiOf, Imported, created
from workers.contracts.errors import JobError

ADDRESS = "/api/v1/datasets"
MESSY = REVIEWS + b"a <b>fine</b> film,good\nask me@mail.example.org,Good\na good film number 3,good\n"


@pytest.fixture
def dataset(cast: Cast, imported: Imported) -> Dataset:
    """Forty reviews and three rows with something the matter."""
    version = created(cast.bob, cast.ours.project, MESSY)
    imported(version)
    return version.dataset


@pytest.fixture
def client(cast: Cast, api_of: ApiOf) -> APIClient:
    return api_of(cast.bob)


def test_a_repair_is_seen_before_it_is_made(client: APIClient, dataset: Dataset, imported: Imported) -> None:
    address = f"{ADDRESS}/{dataset.pk}"
    found = {issue["code"]: issue for issue in client.get(address).json()["issues"]}
    assert found["text_personal"]["repairs"] == ["mask-personal"]
    seen = client.get(f"{address}/repair", {"code": "text_personal"}).json()
    assert (seen["changed"], seen["dropped"], seen["relabelled"]) == (1, 0, 0)
    (example,) = seen["examples"]
    assert (example["row"], example["before"]["text"]) == (41, "ask me@mail.example.org")
    assert example["after"] == {"text": "ask [email]", "label": "Good"}

    reply = client.post(f"{address}/repair", {"code": "text_personal"})
    assert (reply.status_code, reply.json()) == (202, {"id": dataset.pk, "version": 2, "state": "processing"})
    second = imported(dataset.latest)
    now = client.get(address).json()
    assert (now["origin"], now["rows"], now["mapping"]) == ("repair", 43, {"text": "text", "label": "label"})
    assert "text_personal" not in {issue["code"] for issue in now["issues"]}
    assert now["profile"]["edit"] == {
        "repair": "mask-personal", "dropped": 0, "relabelled": 0, "changed": 1, "moved": 0,
    }  # fmt: skip
    assert second.lineage_key
    assert AuditEntry.objects.filter(event="dataset.repaired").count() == 1


@pytest.mark.parametrize(
    ("code", "counts"),
    [("class_similar", (0, 1, 0)), ("duplicate_rows", (1, 0, 0)), ("text_markup", (0, 0, 1))],
)
def test_what_is_seen_is_what_is_made(
    client: APIClient, dataset: Dataset, imported: Imported, code: str, counts: tuple[int, int, int]
) -> None:
    address = f"{ADDRESS}/{dataset.pk}/repair"
    seen = client.get(address, {"code": code}).json()
    assert (seen["dropped"], seen["relabelled"], seen["changed"]) == counts
    assert client.post(address, {"code": code}).status_code == 202
    made = imported(dataset.latest).profile["edit"]
    assert (made["dropped"], made["relabelled"], made["changed"]) == counts


def test_only_what_was_found_can_be_repaired(client: APIClient, dataset: Dataset) -> None:
    address = f"{ADDRESS}/{dataset.pk}/repair"
    for body in ({}, {"code": "text_mojibake"}, {"code": "nothing"}, {"code": "text_markup", "repair": "drop-repeats"}):
        assert client.get(address, body).status_code == 422
        assert client.post(address, body).status_code == 422
    assert dataset.versions.count() == 1


def test_a_repair_that_fails_leaves_the_version_before_it_in_use(
    client: APIClient, cast: Cast, imported: Imported
) -> None:
    # All rows of the second class are too few: without them there is one class only.
    rows = b"text,label\n" + b"".join(b"film %d,good\n" % n for n in range(20)) + b"bad film,bad\nworse film,bad\n"
    first = created(cast.bob, cast.ours.project, rows)
    imported(first)
    address = f"{ADDRESS}/{first.dataset_id}"
    assert client.post(f"{address}/repair", {"code": "class_small"}).status_code == 202
    failing = first.dataset.latest
    with pytest.raises(JobError, match="one_class_only") as caught:
        imported(failing)
    actions.fail_import(job=failing.jobs.get(), error=caught.value.card())
    assert client.get(address).json()["version"] == 1
    assert client.get(address, {"version": 2}).json()["error"]["code"] == "one_class_only"
    reply = client.patch(f"{address}/rows", {"changes": [{"row": 0, "label": "bad"}]})
    assert (reply.status_code, reply.json()["version"]) == (202, 3)


def test_rows_are_corrected_in_every_way(client: APIClient, dataset: Dataset, imported: Imported) -> None:
    address = f"{ADDRESS}/{dataset.pk}"
    changes = [
        {"row": 0, "text": "a film to see"},
        {"row": 1, "split": "test", "label": "worst"},
        {"row": 2, "drop": True},
    ]
    before = client.get(f"{address}/rows").json()["results"]
    assert client.patch(f"{address}/rows", {"changes": changes}).status_code == 202
    imported(dataset.latest)
    after = client.get(f"{address}/rows").json()["results"]
    assert after[0] == {**before[0], "text": "a film to see"}
    assert after[1] == {**before[1], "label": "worst", "split": "test"}
    assert after[2:] == [{**row, "row": row["row"] - 1} for row in before[3:]]
    for bad in ({"row": 0}, {"row": 0, "split": "best"}, {"row": 0, "text": " "}):
        assert client.patch(f"{address}/rows", {"changes": [bad]}).status_code == 422
