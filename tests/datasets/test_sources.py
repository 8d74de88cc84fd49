"""Datasets made of several files, and of files from addresses."""

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from apps.datasets import actions, uploads
from apps.datasets.models import Dataset, DatasetVersion, Upload
from tests.cast import Cast
from tests.datasets.conftest import REVIEWS, stored
from tests.fetch.far import INSIDE, OUTSIDE, far_end, ok, policy
from tests.ingest.importing import as_zip, picture, pictures
from workers.contracts.errors import JobError
from workers.fetch.policy import of_environment

Imported = Callable[[DatasetVersion], DatasetVersion]
DATASETS = "/api/v1/datasets"


@pytest.fixture
def client(cast: Cast, api_of: Callable[..., APIClient]) -> APIClient:
    return api_of(cast.bob)


@pytest.fixture(autouse=True)
def reachable(settings: Settings) -> None:
    """127.0.0.2 stands for the internet."""
    settings.SLIPWAY_IMPORTS = policy()


def create(client: APIClient, cast: Cast, **fields: Any) -> Any:
    body = {"project": cast.ours.project.pk, "name": "Films", "kind": "text", **fields}
    form = "multipart" if "file" in fields else "json"
    return client.post(DATASETS, body, format=form)


def newest(reply: Any) -> DatasetVersion:
    assert reply.status_code == 202, reply.json()
    return Dataset.objects.get(pk=reply.json()["id"]).latest


def files(*parts: bytes) -> list[SimpleUploadedFile]:
    return [SimpleUploadedFile(f"part {number}.csv", part) for number, part in enumerate(parts)]


HEADER, *LINES = REVIEWS.splitlines(keepends=True)


def test_several_files_become_one_dataset(client: APIClient, cast: Cast, imported: Imported) -> None:
    first, second = (
        HEADER + b"".join(LINES[:25]),
        b"label,text\n"
        + b"".join(b"%s,%s\n" % tuple(reversed(line.strip().split(b","))) for line in [*LINES[25:], b",good"]),
    )
    version = imported(newest(create(client, cast, file=files(first, second))))
    assert (version.rows, version.rejected) == (40, 1)
    assert [file["name"] for file in version.profile["files"]] == ["part 0.csv", "part 1.csv"]
    assert client.get(f"{DATASETS}/{version.dataset_id}").json()["source"] == "part 0.csv"


def test_several_uploads_too(client: APIClient, cast: Cast, imported: Imported) -> None:
    made = [stored(cast.bob, cast.ours.project, HEADER + b"".join(part)) for part in (LINES[:30], LINES[30:])]
    version = imported(newest(create(client, cast, upload=[upload.pk for upload in made])))
    assert version.rows == 40
    Upload.objects.update(finished=made[0].finished - uploads.UNUSED_AFTER * 2)  # type: ignore[operator]
    assert uploads.forget_expired() == 0, "both are sources of a version"
    assert create(client, cast, upload=[made[0].pk, made[0].pk]).status_code == 422


def test_files_of_other_columns_are_not_mixed(client: APIClient, cast: Cast, imported: Imported) -> None:
    version = newest(create(client, cast, file=files(REVIEWS, b"title,stars\na,1\nb,2\n")))
    with pytest.raises(JobError) as caught:
        imported(version)
    assert caught.value.code == "columns_differ" and "part 1.csv: title, stars" in caught.value.evidence


def test_images_come_in_several_archives_and_more_are_added(client: APIClient, cast: Cast, imported: Imported) -> None:
    first, second = (as_zip({name: picture(start + n) for n, name in enumerate(pictures())}) for start in (0, 5000))
    version = imported(newest(create(client, cast, kind="image", file=files(first, second))))
    assert (version.rows, version.rejected, version.classes) == (40, 0, {"cat": 20, "dog": 20})
    more = files(as_zip({"cat/1.png": picture(9001)}), as_zip({"cat/1.png": picture(9002)}))
    address = f"{DATASETS}/{version.dataset_id}/append"
    version = imported(newest(client.post(address, {"file": more}, format="multipart")))
    assert (version.rows, version.classes) == (42, {"cat": 22, "dog": 20})


def test_a_file_is_fetched_from_its_address(client: APIClient, cast: Cast, imported: Imported) -> None:
    with far_end(ok(REVIEWS)) as far:
        version = newest(create(client, cast, url=f"{far.url}/data/Films%202024.csv?token=1"))
        assert far.asked == [], "not by the web process"
        imported(version)
    version.refresh_from_db()
    assert (version.rows, version.source_name) == (40, "Films 2024.csv")


@pytest.mark.parametrize(
    "url",
    [f"http://{INSIDE}/", "http://localhost/a.csv", "file:///etc/passwd", "s3://bucket/key", "http://u:p@a.com/", "x"],
)
def test_addresses_that_may_not_be_named_are_refused_at_once(client: APIClient, cast: Cast, url: str) -> None:
    reply = create(client, cast, url=url)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "url_not_allowed")
    assert not Dataset.objects.filter(name="Films").exists()


def test_data_comes_in_one_way(client: APIClient, cast: Cast) -> None:
    assert create(client, cast, url=f"http://{OUTSIDE}/", upload="upl_x").status_code == 422
    assert create(client, cast).status_code == 422


def test_an_object_of_a_bucket_that_the_operator_names(
    client: APIClient, cast: Cast, imported: Imported, settings: Settings, s3_bucket: str
) -> None:
    boto3.resource("s3").Bucket("bucket").put_object(Key="public/films.csv", Body=REVIEWS)
    settings.SLIPWAY_IMPORTS = of_environment({"SLIPWAY_IMPORT_BUCKETS": "bucket/public"})
    assert imported(newest(create(client, cast, url="s3://bucket/public/films.csv"))).rows == 40
    missing = newest(create(client, cast, url="s3://bucket/public/none.csv"))
    with pytest.raises(Exception, match="url_unreachable"):
        imported(missing)
    assert create(client, cast, url="s3://bucket/other.csv").status_code == 422


def test_whether_there_is_a_header_is_guessed_or_said(client: APIClient, cast: Cast, imported: Imported) -> None:
    bare = b"".join(LINES)
    guessed = imported(newest(create(client, cast, file=files(bare))))
    assert (guessed.rows, guessed.mapping) == (40, {"text": "column_1", "label": "column_2"})
    assert guessed.profile["header"] is False
    said = imported(newest(create(client, cast, file=files(bare), header="true")))
    assert said.rows == 39
    mapping = json.dumps({"text": "column_1", "label": "column_2"})
    told = imported(newest(create(client, cast, file=files(REVIEWS), header="false", mapping=mapping)))
    assert told.rows == 41 and "label" in told.classes


def test_files_are_appended_as_a_new_version(client: APIClient, cast: Cast, imported: Imported) -> None:
    first = imported(newest(create(client, cast, file=files(REVIEWS))))
    address = f"{DATASETS}/{first.dataset_id}/append"
    reply = client.post(address, {"file": files(b"text,label\na fair film,good\n,bad\n")}, format="multipart")
    assert (reply.status_code, reply.json()["version"]) == (202, 2)
    assert client.post(address, {"url": "https://example.com/x.csv"}).status_code == 409, "one at a time"
    second = imported(newest(reply))
    assert (second.rows, second.rejected, second.origin, second.parent) == (41, 1, "append", first)
    found = client.get(f"{DATASETS}/{first.dataset_id}").json()
    assert (found["source"], found["mapping"]) == ("part 0.csv", {"text": "text", "label": "label"})
    with far_end(ok(b"text,label\nfrom afar,bad\n")) as far:
        third = imported(newest(client.post(address, {"url": f"{far.url}/more.csv"})))
    assert (third.rows, third.number) == (42, 3)
    assert client.post(address, {}).status_code == 422


def test_an_append_that_fails_leaves_the_dataset_as_it_was(client: APIClient, cast: Cast, imported: Imported) -> None:
    first = imported(newest(create(client, cast, file=files(REVIEWS))))
    reply = client.post(f"{DATASETS}/{first.dataset_id}/append", {"file": files(b"a,b\nc,d\n")}, format="multipart")
    version = DatasetVersion.objects.get(dataset=first.dataset_id, number=reply.json()["version"])
    with pytest.raises(JobError, match="columns_differ") as caught:
        imported(version)
    actions.fail_import(job=version.jobs.get(), error=caught.value.card())
    assert first.dataset.latest == first
