"""Model versions and their bundles, by the control API."""

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.registry.models import ModelVersion
from apps.teams.models import User
from tests.api.test_error_shape import one_shape
from tests.cast import CANARY, Cast
from workers.contracts.report import ClassificationReport, ClassificationSplit, read_report

pytestmark = pytest.mark.django_db

Login = Callable[[User | None], APIClient]
ZIP = b"PK\x03\x04" + bytes(range(200))


@pytest.fixture
def model(cast: Cast) -> ModelVersion:
    found = cast.ours.model
    storage().put_bytes(ZIP, found.bundle_key)
    return found


@pytest.fixture
def victors(api_of: Login, cast: Cast) -> APIClient:
    return api_of(cast.victor)


def test_a_model_is_told_whole(victors: APIClient, model: ModelVersion) -> None:
    told = victors.get(f"/api/v1/models/{model.pk}").json()
    assert (told["number"], told["template"], told["deployable"]) == (1, "text-classification", True)
    assert told["metrics"]["test"]["accuracy"] == 0.5
    assert told["certificate"]["label_flips"] == 0
    assert told["report"]["labels"] == model.report["labels"]
    assert told["bundle"] == {"sha256": model.bundle_sha256, "bytes": model.bundle_bytes}


def test_the_report_is_told_as_it_was_written(victors: APIClient, model: ModelVersion) -> None:
    split = ClassificationSplit(rows=2, labels=["a", "b"], metrics={"accuracy": 0.5}, undefined={"roc_auc": "why"})
    written = ClassificationReport(labels=["a", "b"], splits={"test": split})
    ModelVersion.objects.filter(pk=model.pk).update(report=written.model_dump(mode="json"))
    told = victors.get(f"/api/v1/models/{model.pk}").json()["report"]
    assert (told["version"], told["kind"]) == (1, "classification")
    assert read_report(told) == written


def test_the_list_holds_the_teams_own_models(victors: APIClient, model: ModelVersion, cast: Cast) -> None:
    for query in ({}, {"project": cast.ours.project.pk}):
        assert [found["id"] for found in victors.get("/api/v1/models", query).json()["results"]] == [model.pk]
    assert victors.get("/api/v1/models", {"project": cast.theirs.project.pk}).status_code == 404
    assert victors.get("/api/v1/models", {"job__created_by__password": "x"}).status_code == 422


def test_a_strangers_model_is_not_found(victors: APIClient, cast: Cast) -> None:
    for path in (cast.theirs.model.pk, f"{cast.theirs.model.pk}/bundle", "mdl_" + "a" * 24, "..%2f"):
        reply = victors.get(f"/api/v1/models/{path}")
        assert reply.status_code == 404
        assert CANARY not in reply.content.decode()


def test_the_bundle_comes_as_it_was_stored_and_as_nothing_but_a_file(victors: APIClient, model: ModelVersion) -> None:
    reply = victors.get(f"/api/v1/models/{model.pk}/bundle")
    assert (reply.status_code, reply.getvalue()) == (200, ZIP)
    assert reply["Content-Type"] == "application/zip"
    assert reply["Content-Disposition"].startswith("attachment;")
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in reply["Content-Security-Policy"]
    assert reply["Content-Length"] == str(len(ZIP))


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        ("bytes=0-3", 206, ZIP[:4]),
        ("bytes=100-", 206, ZIP[100:]),
        ("bytes=-5", 206, ZIP[-5:]),
        ("bytes=190-99999", 206, ZIP[190:]),
        ("bytes=0-0,2-3", 200, ZIP),
        ("bytes=" + ",".join("0-0" for _ in range(10_000)), 200, ZIP),
        ("items=0-1", 200, ZIP),
    ],
)
def test_one_range_of_bytes_may_be_asked_for(
    victors: APIClient, model: ModelVersion, header: str, status: int, content: bytes
) -> None:
    reply = victors.get(f"/api/v1/models/{model.pk}/bundle", headers={"Range": header})
    assert (reply.status_code, reply.getvalue()) == (status, content)
    if status == 206:
        assert reply["Content-Range"].endswith(f"/{len(ZIP)}")


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=9999-", "bytes=-0"])
def test_bytes_that_are_not_there_are_an_error_like_any_other(
    victors: APIClient, model: ModelVersion, header: str
) -> None:
    reply = victors.get(f"/api/v1/models/{model.pk}/bundle", headers={"Range": header})
    assert reply["Content-Range"] == f"bytes */{len(ZIP)}"
    assert one_shape(reply, 416, "range_invalid")["params"] == {"size_bytes": len(ZIP)}


def test_a_models_name_cannot_write_headers(victors: APIClient, model: ModelVersion) -> None:
    for name in ('a";filename="x.bat', "a\r\nSet-Cookie: a=b", "../../etc/passwd", "☃ Größe", '"', "."):
        ModelVersion.objects.filter(pk=model.pk).update(name=name)
        header = victors.get(f"/api/v1/models/{model.pk}/bundle")["Content-Disposition"]
        assert header.startswith("attachment; filename")
        assert "\n" not in header
        assert ".." not in header
        assert ".bat" not in header or header.count('"') == 2


def test_a_bundle_that_is_gone_is_told_so(victors: APIClient, cast: Cast) -> None:
    storage().delete(cast.ours.model.bundle_key)
    reply = victors.get(f"/api/v1/models/{cast.ours.model.pk}/bundle")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "artifact_missing")
