"""Rows by what a model says of them, changes from the browser, and thumbnails."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.test import Client
from PIL import Image
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.datasets.models import DatasetVersion
from tests.cast import Cast
from tests.datasets.conftest import created

Imported = Callable[[DatasetVersion], DatasetVersion]
HOSTILE = "<script>alert(1)</script>"
NAMES = ["good", "bad"]


@pytest.fixture
def client(cast: Cast, client: Client) -> Client:
    client.force_login(cast.bob)
    return client


def labels_of(version: DatasetVersion) -> list[str]:
    """As stored: of several per row they are JSON."""
    with storage().open(version.data_key) as file:
        found: list[str] = pq.read_table(file, columns=["label"])["label"].to_pylist()
    return found


def judge(version: DatasetVersion, folder: Path, predicted: list[str], suspect: list[bool]) -> DatasetVersion:
    """As if a training had looked at the version's 40 rows; the later, the more suspect."""
    table = pa.table(
        {
            "row": pa.array(range(40), pa.int32()),
            "predicted": pa.array(predicted).dictionary_encode(),
            "label_probability": pa.array([row / 40 for row in range(40)], pa.float32()),
            "suspicion": pa.array([row / 40 for row in range(40)], pa.float32()),
            "suspect": pa.array(suspect),
        }
    )
    pq.write_table(table, folder / "suspects.parquet")
    storage().put_file(folder / "suspects.parquet", "suspects.parquet")
    version.suspects_key = "suspects.parquet"
    version.save()
    return version


@pytest.fixture
def judged(cast: Cast, imported: Imported, tmp_path: Path) -> DatasetVersion:
    """40 texts, of which a model takes every tenth for the other class."""
    version = imported(created(cast.bob, cast.ours.project))
    wrong = [row % 10 == 0 for row in range(40)]
    predicted = [NAMES[(label == "good") == bad] for label, bad in zip(labels_of(version), wrong, strict=True)]
    return judge(version, tmp_path, predicted, [bad and row > 5 for row, bad in enumerate(wrong)])


@pytest.fixture
def judged_sets(cast: Cast, imported: Imported, tmp_path: Path) -> DatasetVersion:
    """40 texts of several labels: row 3 seems to lack "long", row 5 to have "film" wrongly."""
    rows = [
        f"review number {row},{'good' if row % 2 else 'bad'}|{'film' if row % 3 else 'long'}\n" for row in range(40)
    ]
    data = ("text,label\n" + "".join(rows)).encode()
    version = imported(created(cast.bob, cast.ours.project, data, mapping={"label_separator": "|"}))
    predicted = labels_of(version)
    assert predicted[5] == '["film","good"]' and predicted[3] == '["good","long"]'
    predicted[3], predicted[5] = '["film","good","long"]', '["good"]'
    return judge(version, tmp_path, predicted, [row in (3, 5) for row in range(40)])


def asked(api: APIClient, version: DatasetVersion, **query: str) -> list[int]:
    reply = api.get(f"/api/v1/datasets/{version.dataset_id}/rows", query).json()
    assert reply["total"] == len(reply["results"])
    return [row["row"] for row in reply["results"]]


def test_rows_are_chosen_and_ordered_by_what_a_model_says(
    cast: Cast, api_of: Callable[..., APIClient], judged: DatasetVersion
) -> None:
    api = api_of(cast.bob)
    assert asked(api, judged, mistakes="1") == [0, 10, 20, 30]
    assert asked(api, judged, suspects="1") == [10, 20, 30]
    assert asked(api, judged, sort="suspicion") == list(range(39, -1, -1))
    assert asked(api, judged, mistakes="1", sort="suspicion", q="number") == [30, 20, 10, 0]
    row = api.get(f"/api/v1/datasets/{judged.dataset_id}/rows", {"suspects": "1"}).json()["results"][0]
    assert row["predicted"] != row["label"] and row["suspect"] is True


def test_changes_are_about_the_version_that_was_looked_at(
    client: Client, judged: DatasetVersion, imported: Imported
) -> None:
    address = f"/datasets/{judged.dataset_id}/rows/labels"
    changes = json.dumps([{"row": 0, "label": HOSTILE}, {"row": 1, "label": "good"}])
    assert client.post(address, {"version": 1, "changes": changes}).status_code == 303
    newer = imported(judged.dataset.latest)
    assert newer.classes[HOSTILE] == 1
    assert client.post(address, {"version": 1, "changes": changes}).status_code == 409
    for broken in ("", "[]", "{", "7", '[{"row": 0}]', '[{"row": "x", "label": "y"}]'):
        assert client.post(address, {"version": 2, "changes": broken}).status_code == 422, broken
    page = client.get(f"/datasets/{judged.dataset_id}/rows").content.decode()
    assert HOSTILE not in page and "&lt;script&gt;" in page


def test_all_rows_that_match_are_told_with_their_labels(client: Client, judged: DatasetVersion) -> None:
    found = client.get(f"/datasets/{judged.dataset_id}/rows/matching", {"suspects": "1", "label": "good"}).json()
    assert found["rows"] and all(labels == ["good"] and suggested == ["bad"] for _, labels, suggested in found["rows"])


def test_suggestions_are_accepted_by_one_request(
    api_of: Callable[..., APIClient], client: Client, cast: Cast, judged: DatasetVersion, imported: Imported
) -> None:
    before = labels_of(judged)
    api, address = api_of(cast.bob), f"/api/v1/datasets/{judged.dataset_id}"
    issue = next(one for one in api.get(address).json()["issues"] if one["code"] == "label_suspect")
    assert (issue["count"], issue["repairs"]) == (3, ["accept-suggestions"])
    shown = client.get(f"/datasets/{judged.dataset_id}/repair", {"code": "label_suspect"}).content.decode()
    assert "Accept the suggestions" in shown and "number 5" in shown
    made = api.post(f"{address}/repair", {"code": "label_suspect"})
    assert (made.status_code, made.json()["version"]) == (202, 2)
    newer = imported(judged.dataset.latest)
    changed = {row: label for row, label in enumerate(labels_of(newer)) if label != before[row]}
    assert changed == {row: NAMES[before[row] == "good"] for row in (10, 20, 30)}
    # What was accepted is doubted no longer; what the model says of the others stays.
    assert asked(api, newer, mistakes="1") == [0]
    assert "label_suspect" not in {one["code"] for one in api.get(address).json()["issues"]}
    assert api.post(f"{address}/repair", {"code": "label_suspect"}).status_code == 422


def test_of_several_labels_the_missing_and_the_wrong_one_are_told_and_mended(
    api_of: Callable[..., APIClient], client: Client, cast: Cast, judged_sets: DatasetVersion, imported: Imported
) -> None:
    api, address = api_of(cast.bob), f"/datasets/{judged_sets.dataset_id}"
    assert asked(api, judged_sets, suspects="1") == asked(api, judged_sets, mistakes="1") == [3, 5]
    row = api.get(f"/api/v1{address}/rows", {"q": "number 3", "suspects": "1"}).json()["results"][0]
    assert (row["labels"], row["predicted_labels"]) == (["good", "long"], ["film", "good", "long"])
    told = client.get(f"{address}/rows", {"suspects": "1"}).content.decode()
    assert told.count("missing</span> film") == told.count("wrong</span> film") == 1
    rows = client.get(f"{address}/rows/matching", {"suspects": "1"}).json()["rows"]
    assert rows == [[3, ["good", "long"], ["film", "good", "long"]], [5, ["film", "good"], ["good"]]]
    before = labels_of(judged_sets)
    assert api.post(f"/api/v1{address}/repair", {"code": "label_suspect"}).status_code == 202
    newer = imported(judged_sets.dataset.latest)
    changed = {row: label for row, label in enumerate(labels_of(newer)) if label != before[row]}
    assert changed == {3: '["film","good","long"]', 5: '["good"]'}
    assert asked(api, newer, suspects="1") == []


def test_a_page_beyond_the_last_shows_the_last(client: Client, judged: DatasetVersion) -> None:
    page = client.get(f"/datasets/{judged.dataset_id}/rows", {"page": "900", "label": "good"}).content.decode()
    assert page.count("data-row=") == 20


def test_a_link_to_what_is_no_more_shows_all_rows_and_says_why(client: Client, judged: DatasetVersion) -> None:
    for name in ("label", "issue"):
        asked = client.get(f"/datasets/{judged.dataset_id}/rows", {name: "gone", "version": judged.number})
        assert asked.status_code == 303
        page = client.get(asked["Location"]).content.decode()
        assert f"“{name}”" in page and page.count("data-row=") > 20


def test_a_thumbnail_is_drawn_once(cast: Cast, client: Client, imported: Imported, tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(20):
            picture = io.BytesIO()
            Image.new("RGB", (300, 200), (number, 9, 9)).save(picture, "PNG")
            archive.writestr(f"{'cat' if number % 2 else 'dog'}/{number}.png", picture.getvalue())
    version = imported(created(cast.bob, cast.ours.project, file.getvalue(), kind="image"))
    address = f"/datasets/{version.dataset_id}/rows/7/image?version=1&size=256"
    first = client.get(address)
    assert Image.open(io.BytesIO(first.content)).size == (256, 171)
    assert "immutable" in first["Cache-Control"]
    storage().delete(version.data_key)
    assert client.get(address).content == first.content
    again = client.get(address, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(address.replace("256", "257")).status_code == 422
