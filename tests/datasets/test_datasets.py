"""Datasets by the public API: a file in, a described version out, corrected into the next."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.core.models import AuditEntry
from apps.datasets import actions
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.training.models import Job
from tests.cast import Cast
from tests.datasets.conftest import REVIEWS, stored
from workers.contracts.errors import JobError, UserError

ApiOf = Callable[..., APIClient]
Imported = Callable[[DatasetVersion], DatasetVersion]
DATASETS = "/api/v1/datasets"


@pytest.fixture
def client(cast: Cast, api_of: ApiOf) -> APIClient:
    return api_of(cast.bob)


def send(client: APIClient, cast: Cast, data: bytes = REVIEWS, filename: str = "reviews.csv", **fields: Any) -> Any:
    body = {"project": cast.ours.project.pk, "name": "Films", "kind": "text", **fields}
    return client.post(DATASETS, {**body, "file": SimpleUploadedFile(filename, data)}, format="multipart")


def newest(reply: Any) -> DatasetVersion:
    assert reply.status_code == 202, reply.json()
    return Dataset.objects.get(pk=reply.json()["id"]).latest


def test_a_file_becomes_a_ready_dataset(client: APIClient, cast: Cast, imported: Imported) -> None:
    reply = send(client, cast, REVIEWS + b",good\n")
    assert reply.json() == {"id": reply.json()["id"], "version": 1, "state": "processing"}
    assert newest(reply).jobs.get().state == Job.State.QUEUED
    imported(newest(reply))
    found = client.get(f"{DATASETS}/{reply.json()['id']}").json()
    assert found["state"] == "ready"
    assert (found["rows"], found["rejected"], found["classes"]) == (40, 1, {"bad": 20, "good": 20})
    assert sum(found["splits"].values()) == 40
    assert {issue["code"] for issue in found["issues"]} >= {"text_missing"}
    assert found["error"] is None
    assert found["mapping"] == {"text": "text", "label": "label"}


def test_the_rows_with_findings_are_kept_beside_the_data(client: APIClient, cast: Cast, imported: Imported) -> None:
    clean = newest(send(client, cast))
    imported(clean)
    odd = newest(send(client, cast, REVIEWS + b"write to ann@example.org,good\n"))
    imported(odd)
    clean.refresh_from_db()
    odd.refresh_from_db()
    assert clean.findings_key == ""
    with storage().open(odd.findings_key) as file:
        assert pq.read_table(file).to_pylist() == [{"row": 40, "code": "text_personal"}]


def test_a_finished_upload_becomes_a_dataset(client: APIClient, cast: Cast, imported: Imported) -> None:
    upload = stored(cast.bob, cast.ours.project)
    body = {"project": cast.ours.project.pk, "name": "Films", "kind": "text", "upload": upload.pk}
    version = newest(client.post(DATASETS, body))
    assert imported(version).rows == 40


def test_what_was_rejected_comes_back_as_csv(client: APIClient, cast: Cast, imported: Imported) -> None:
    reply = send(client, cast, REVIEWS + b",good\n")
    assert client.get(f"{DATASETS}/{reply.json()['id']}/errors.csv").status_code == 409, "it is not ready yet"
    imported(newest(reply))
    file = client.get(f"{DATASETS}/{reply.json()['id']}/errors.csv")
    assert file["Content-Type"].startswith("text/csv")
    assert file["Content-Disposition"].startswith("attachment")
    (row,) = csv.DictReader(io.StringIO(b"".join(file.streaming_content).decode("utf-8-sig")))
    assert (row["line"], row["code"], row["label"]) == ("42", "text_missing", "good")


def test_rows_are_paged_and_searched(client: APIClient, cast: Cast, imported: Imported) -> None:
    reply = send(client, cast, REVIEWS * 3)
    imported(newest(reply))
    address = f"{DATASETS}/{reply.json()['id']}/rows"
    first = client.get(address).json()
    assert len(first["results"]) == 50
    second = client.get(first["next"]).json()
    assert [row["row"] for row in first["results"] + second["results"]][:51] == list(range(51))
    found = client.get(address, {"q": "FILM NUMBER 7", "label": "bad"}).json()
    assert found["total"] >= 1
    assert all(row["label"] == "bad" and "number 7" in row["text"] for row in found["results"])
    assert client.get(address, {"q": "(a+)+$"}).json()["results"] == [], "text, never a pattern"
    assert client.get(address, {"label__startswith": "b"}).status_code == 422


def test_rows_are_filtered_by_any_conditions_together(client: APIClient, cast: Cast, imported: Imported) -> None:
    noisy = b"write to me@example.org,good\nwrite to you@example.org,bad\n"
    reply = send(client, cast, REVIEWS + noisy)
    version = imported(newest(reply))
    address = f"{DATASETS}/{reply.json()['id']}/rows"
    every = client.get(address).json()["results"]
    found = client.get(address, {"issue": "text_personal", "label": "bad", "q": "WRITE"}).json()
    assert [row["text"] for row in found["results"]] == ["write to you@example.org"]
    for split, count in version.splits.items():
        found = client.get(address, {"split": split}).json()
        assert (found["total"], found["results"]) == (count, [row for row in every if row["split"] == split][:50])


@pytest.mark.parametrize(
    "query",
    [
        {"label": "unheard of"},
        {"split": "tset"},
        {"issue": "text_missing"},  # rejected rows are in no version
        {"issue": "'; --"},
        {"mistakes": "yes"},
        {"suspects": "1"},  # no model has looked
        {"sort": "label"},
        {"q": "x" * 1001},
        {"page": "0"},
    ],
)
def test_conditions_that_nobody_knows_are_refused(
    client: APIClient, cast: Cast, imported: Imported, query: dict[str, str]
) -> None:
    reply = send(client, cast)
    imported(newest(reply))
    refused = client.get(f"{DATASETS}/{reply.json()['id']}/rows", query)
    assert refused.status_code == 422
    assert [field["field"] for field in refused.json()["error"]["params"]["fields"]] == list(query)


def test_a_correction_makes_a_new_version_and_leaves_the_old(client: APIClient, cast: Cast, imported: Imported) -> None:
    dataset = send(client, cast).json()["id"]
    old = imported(Dataset.objects.get(pk=dataset).latest)
    row = client.get(f"{DATASETS}/{dataset}/rows", {"label": "good"}).json()["results"][0]
    reply = client.patch(f"{DATASETS}/{dataset}/rows", {"changes": [{"row": row["row"], "label": "bad"}]})
    assert reply.json() == {"id": dataset, "version": 2, "state": "processing"}
    new = imported(newest(reply))
    assert (new.parent, new.classes) == (old, {"bad": 21, "good": 19})
    assert client.get(f"{DATASETS}/{dataset}", {"version": 1}).json()["classes"] == {"bad": 20, "good": 20}
    assert client.get(f"{DATASETS}/{dataset}").json()["mapping"] == {"text": "text", "label": "label"}


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [{"row": 40, "label": "bad"}],
        [{"row": -1, "label": "bad"}],
        [{"row": 0, "label": ""}],
        [{"row": 0, "label": "x" * 201}],
        [{"row": 0, "label": "bad"}, {"row": 0, "label": "good"}],
        [{"row": "all", "label": "bad"}],
        [{"label": "bad"}],
        [{"row": 0, "label": "bad", "split": "test"}, "x"],
        {"row": 0},
    ],
)
def test_a_correction_names_each_row_once_and_rightly(
    client: APIClient, cast: Cast, imported: Imported, changes: Any
) -> None:
    dataset = send(client, cast).json()["id"]
    imported(Dataset.objects.get(pk=dataset).latest)
    assert client.patch(f"{DATASETS}/{dataset}/rows", {"changes": changes}).status_code == 422
    assert Dataset.objects.get(pk=dataset).versions.count() == 1


def test_two_corrections_at_once_do_not_undo_each_other(cast: Cast, imported: Imported, client: APIClient) -> None:
    dataset = Dataset.objects.get(pk=send(client, cast).json()["id"])
    imported(dataset.latest)
    actions.correct_rows(actor=cast.bob, dataset=dataset, changes=[{"row": 0, "label": "bad"}])
    with pytest.raises(UserError, match="dataset_not_ready"):
        actions.correct_rows(actor=cast.alice, dataset=dataset, changes=[{"row": 1, "label": "bad"}])


def test_an_import_that_fails_says_why(client: APIClient, cast: Cast) -> None:
    version = newest(send(client, cast))
    card = JobError("one_class_only", evidence="label = good").card()
    actions.fail_import(job=version.jobs.get(), error=card)
    found = client.get(f"{DATASETS}/{version.dataset_id}").json()
    assert (found["state"], found["error"]["code"]) == ("failed", "one_class_only")
    assert client.get(f"{DATASETS}/{version.dataset_id}/rows").status_code == 409


def test_a_late_failure_does_not_spoil_a_ready_version(client: APIClient, cast: Cast, imported: Imported) -> None:
    version = imported(newest(send(client, cast)))
    assert actions.fail_import(job=version.jobs.get(), error=JobError("time_limit").card()).state == "ready"
    assert not AuditEntry.objects.filter(event="dataset.import_failed").exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "video"}, "kind"),
        ({"name": ""}, "name"),
        ({"mapping": "{"}, "mapping"),
        ({"mapping": '["text"]'}, "mapping"),
        ({"mapping": '{"user": "text"}'}, "mapping"),
        ({"mapping": '{"text": "a", "label": "a"}'}, "mapping"),
        ({"mapping": '{"text": 7, "label": null}'}, "mapping.label"),
        ({"state": "ready"}, "state"),
        ({"created_by": "usr_x"}, "created_by"),
        ({"upload": "upl_x"}, "file"),
    ],
)
def test_a_bad_form_names_its_field_and_stores_nothing(
    client: APIClient, cast: Cast, own_home: Path, change: dict[str, str], field: str
) -> None:
    reply = send(client, cast, **change)
    assert reply.status_code == 422, reply.json()
    assert field in {problem["field"] for problem in reply.json()["error"]["params"]["fields"]}
    assert not Upload.objects.exists()
    assert not list((own_home / "storage").rglob("upl_*"))


def test_an_address_in_place_of_a_file_is_no_file(client: APIClient, cast: Cast) -> None:
    body = {"project": cast.ours.project.pk, "name": "x", "kind": "text", "file": "http://127.0.0.3/"}
    assert client.post(DATASETS, body, format="multipart").status_code == 422


def test_an_unfinished_upload_makes_no_dataset(client: APIClient, cast: Cast) -> None:
    upload = actions.begin_upload(actor=cast.bob, team=cast.ours.team, filename="a.csv", size=5)
    body = {"project": cast.ours.project.pk, "name": "x", "kind": "text", "upload": upload.pk}
    reply = client.post(DATASETS, body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "upload_incomplete")


def test_a_file_over_the_limit_is_refused_unread(client: APIClient, cast: Cast, settings: Any) -> None:
    settings.SLIPWAY_MAX_UPLOAD_BYTES = 1000
    reply = send(client, cast, b"x" * (1 << 21))
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "upload_too_large")


def test_an_archived_project_takes_no_data(client: APIClient, cast: Cast) -> None:
    from apps.projects.actions import archive_project

    archive_project(actor=cast.alice, project=cast.ours.project)
    assert send(client, cast).status_code == 409


def test_a_preview_guesses_columns_and_kind(client: APIClient, cast: Cast) -> None:
    upload = stored(cast.bob, cast.ours.project, b"review;stars\ngood film;5\nbad film;1\n" * 9, "r.csv")
    found = client.get(f"/api/v1/uploads/{upload.pk}/preview").json()
    assert (found["format"], found["delimiter"]) == ("csv", ";")
    assert [column["name"] for column in found["columns"]] == ["review", "stars"]
    assert found["rows"][0] == ["good film", "5"]
    assert found["mapping_guess"] == {"text": "review", "label": "stars"}


def test_a_preview_of_nonsense_is_an_error_of_the_catalogue(client: APIClient, cast: Cast) -> None:
    upload = stored(cast.bob, cast.ours.project, b"", "empty.csv")
    reply = client.get(f"/api/v1/uploads/{upload.pk}/preview")
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "file_empty")


@pytest.fixture
def photos() -> bytes:
    """A zip of two classes of small images."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for label, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
            for number in range(10):
                image = io.BytesIO()
                Image.new("RGB", (300 + number, 200), (colour[0], number, colour[2])).save(image, "PNG")
                archive.writestr(f"{label}/{number}.png", image.getvalue())
    return buffer.getvalue()


def test_images_are_shown_as_rasters_of_ours(client: APIClient, cast: Cast, imported: Imported, photos: bytes) -> None:
    reply = send(client, cast, photos, "photos.zip", kind="image")
    version = imported(newest(reply))
    image = client.get(f"{DATASETS}/{version.dataset_id}/rows/3/image", {"size": 128})
    assert image["Content-Type"] == "image/jpeg"
    assert image["X-Content-Type-Options"] == "nosniff"
    assert image["Content-Security-Policy"] == "sandbox; default-src 'none'"
    with Image.open(io.BytesIO(image.content)) as shown:
        assert max(shown.size) == 128
    address = f"{DATASETS}/{version.dataset_id}/rows"
    assert client.get(f"{address}/20/image").status_code == 404
    assert client.get(f"{address}/3/image", {"size": 9000}).status_code == 422
    assert "image" not in client.get(address).json()["results"][0]


def test_corrected_images_are_not_decoded_again(
    client: APIClient, cast: Cast, imported: Imported, photos: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = imported(newest(send(client, cast, photos, "photos.zip", kind="image")))
    changes = [{"row": 0, "label": "blue"}, {"row": 1, "drop": True}]
    reply = client.patch(f"{DATASETS}/{first.dataset_id}/rows", {"changes": changes}, format="json")
    monkeypatch.setattr(Image, "open", None)
    assert imported(newest(reply)).classes == {"blue": 11, "red": 8}


def test_text_rows_have_no_images(client: APIClient, cast: Cast, imported: Imported) -> None:
    version = imported(newest(send(client, cast)))
    assert client.get(f"{DATASETS}/{version.dataset_id}/rows/0/image").status_code == 404


def test_everything_that_happened_is_in_the_trail(client: APIClient, cast: Cast, imported: Imported) -> None:
    version = imported(newest(send(client, cast)))
    trail = AuditEntry.objects.filter(team=cast.ours.team).order_by("created", "id")
    assert next(entry.event for entry in trail) == "upload.stored"
    assert {"dataset.created", "dataset.imported"} <= {entry.event for entry in trail}
    assert trail.get(event="dataset.created").actor == cast.bob
    assert json.dumps([entry.data for entry in trail]).count("storage") == 0
    assert storage().exists(version.source_key)


def test_a_version_is_downloaded_as_a_file_that_imports_again(
    client: APIClient, cast: Cast, imported: Imported
) -> None:
    reply = send(client, cast, REVIEWS)
    address = f"{DATASETS}/{reply.json()['id']}/data"
    assert client.get(address).status_code == 409, "it is not ready yet"
    first = imported(newest(reply))
    file = client.get(address)
    assert file["Content-Disposition"].startswith("attachment")
    second = imported(newest(send(client, cast, b"".join(file.streaming_content))))
    assert second.content_hash == first.content_hash


def test_a_version_is_taken_out_as_parquet(client: APIClient, cast: Cast, imported: Imported) -> None:
    first = imported(newest(send(client, cast)))
    address = f"{DATASETS}/{first.dataset_id}/data"
    file = client.get(address, {"format": "parquet"})
    assert (file.status_code, file["Content-Type"]) == (200, "application/vnd.apache.parquet")
    second = imported(newest(send(client, cast, b"".join(file.streaming_content), filename="films.parquet")))
    assert second.content_hash == first.content_hash
    assert client.get(address, {"format": "arrow"}).status_code == 422


def test_an_earlier_version_becomes_the_newest_again(client: APIClient, cast: Cast, imported: Imported) -> None:
    reply = send(client, cast, REVIEWS)
    address = f"{DATASETS}/{reply.json()['id']}"
    first = imported(newest(reply))
    assert client.post(f"{address}/restore", {"version": 1}).status_code == 409, "it is the newest"
    second = newest(client.patch(f"{address}/rows", {"changes": [{"row": 0, "label": "fine"}]}, format="json"))
    assert client.post(f"{address}/restore", {"version": 1}).status_code == 409, "another is being made"
    imported(second)
    restored = client.post(f"{address}/restore", {"version": 1})
    assert (restored.status_code, restored.json()["version"], restored.json()["state"]) == (201, 3, "ready")
    found = client.get(address).json()
    assert (found["origin"], found["classes"], found["rows"]) == ("restored", first.classes, first.rows)
    assert client.get(f"{address}/rows").json()["results"][0]["label"] == "good"
    assert client.post(f"{address}/restore", {"version": 9}).status_code == 404


def test_rows_with_several_labels_are_shown_filtered_and_corrected(
    client: APIClient, cast: Cast, imported: Imported
) -> None:
    sets = ["comedy|drama", "comedy", "war|drama", "war"]
    films = "text,genres\n" + "".join(f"film {n},{sets[n % 4]}\n" for n in range(40))
    reply = send(client, cast, films.encode(), mapping=json.dumps({"label_separator": "|"}))
    dataset = reply.json()["id"]
    imported(newest(reply))
    about = client.get(f"{DATASETS}/{dataset}").json()
    assert about["classes"] == {"comedy": 20, "drama": 20, "war": 20} and about["profile"]["multi_label"]
    found = client.get(f"{DATASETS}/{dataset}/rows", {"label": "drama"}).json()
    assert found["total"] == 20 and found["results"][0]["labels"] == ["comedy", "drama"]
    changes = [{"row": 0, "labels": ["war", "new one"]}, {"row": 1, "labels": []}]
    imported(newest(client.patch(f"{DATASETS}/{dataset}/rows", {"changes": changes}, format="json")))
    rows = client.get(f"{DATASETS}/{dataset}/rows").json()["results"]
    assert [row["labels"] for row in rows[:3]] == [["new one", "war"], [], ["drama", "war"]]
    for change in ({"row": 0}, {"row": 0, "label": "a", "labels": ["b"]}):
        assert client.patch(f"{DATASETS}/{dataset}/rows", {"changes": [change]}, format="json").status_code == 422


def test_the_page_counts_labels_by_rows(
    client: APIClient, cast: Cast, imported: Imported, browser_of: Callable[..., Any]
) -> None:
    films = "text,genres\n" + "".join(f"film {n},{['war;comedy', 'war', 'drama;comedy'][n % 3]}\n" for n in range(30))
    reply = send(client, cast, films.encode(), mapping=json.dumps({"label_separator": ";"}))
    imported(newest(reply))
    page = browser_of(cast.bob).get(f"/datasets/{reply.json()['id']}").content.decode()
    assert "1.67 on average, at most 2; 0 rows have none" in page and "67 %" in page


def test_a_row_of_one_label_takes_no_list(client: APIClient, cast: Cast, imported: Imported) -> None:
    dataset = send(client, cast).json()["id"]
    imported(Dataset.objects.get(pk=dataset).latest)
    changes = [{"row": 0, "labels": ["good", "bad"]}]
    reply = client.patch(f"{DATASETS}/{dataset}/rows", {"changes": changes}, format="json")
    assert reply.status_code == 422 and "one label" in reply.content.decode()
