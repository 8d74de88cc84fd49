"""The OpenAPI schema: complete, free of warnings, and true, as a foreign program finds by trying."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema_rs
import pytest
import requests
import schemathesis
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from schemathesis import APIOperation, Case

from apps.registry.models import ModelVersion
from apps.teams.models import User
from tests.access.matrix import ARGUMENTS
from tests.access.routes import fill, routes
from tests.access.scene import make_scene
from tests.cast import Cast, make_token
from workers.contracts.report import (
    ClassificationReport,
    ClassificationSplit,
    Interval,
    RankingSplit,
    RecommendationReport,
)

Login = Callable[[User | None], APIClient]


def _schema(folder: Path) -> dict[str, object]:
    file = folder / "schema.json"
    errors = StringIO()
    arguments = ["--validate", "--fail-on-warn", "--format", "openapi-json", "--file", str(file)]
    call_command("spectacular", *arguments, stderr=errors)
    found: dict[str, object] = json.loads(file.read_text())
    return found


def test_it_builds_without_a_warning_and_names_every_route(tmp_path: Path) -> None:
    described = _schema(tmp_path)["paths"]
    assert isinstance(described, dict)
    there = {fill(route.path, _Names()): route for route in routes() if route.is_api}
    undescribed = set(there) - set(described) - {"/api/v1/schema", "/api/v1/docs"}
    assert not undescribed
    for path, route in there.items():
        if path in described:
            assert {method.upper() for method in described[path]} == route.methods - {"HEAD"}, path


@pytest.mark.django_db
def test_a_models_report_is_described_to_its_figures(api_of: Login, cast: Cast, tmp_path: Path) -> None:
    schema: Any = _schema(tmp_path)
    content = schema["paths"]["/api/v1/models/{model_id}"]["get"]["responses"]["200"]["content"]
    model = content["application/json"]["schema"] | {"components": schema["components"]}
    shape = jsonschema_rs.Draft202012Validator(model)
    interval = Interval(low=0.4, high=0.6)
    judged = ClassificationSplit(rows=2, metrics={"accuracy": 0.5}, intervals={"accuracy": interval})
    ranked = RankingSplit(users=1, users_without_history=0, held_out=1, held_out_unknown_items=0, already_seen=0)
    for report in (
        ClassificationReport(labels=["a", "b"], splits={"test": judged}),
        RecommendationReport(splits={"test": ranked}),
    ):
        ModelVersion.objects.filter(pk=cast.ours.model.pk).update(report=report.model_dump(mode="json"))
        told = api_of(cast.victor).get(f"/api/v1/models/{cast.ours.model.pk}").json()
        shape.validate(told)
        split = told["report"]["splits"]["test"]
        for wrong in ({"metrics": {"accuracy": "good"}}, {"intervals": {"accuracy": {"low": 0.4}}}, {"surprise": 1}):
            changed = told["report"] | {"splits": {"test": split | wrong}}
            assert not shape.is_valid(told | {"report": changed}), wrong


class _Names(dict[str, str]):
    """Each argument stands for itself, as the schema writes it."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def test_the_schema_is_for_everybody(client: Client, db: None) -> None:
    assert client.get("/api/v1/schema").json()["openapi"].startswith("3.")
    docs = client.get("/api/v1/docs")
    assert docs.status_code == 200
    assert "<style" not in docs.content.decode(), "the content security policy allows none"


@pytest.mark.django_db
@pytest.mark.usefixtures("redis_url")
def test_whatever_a_program_sends_is_answered_without_a_server_error(
    cast: Cast, settings: Settings, tmp_path: Path
) -> None:
    settings.SLIPWAY_HOME, settings.SLIPWAY_STORAGE = tmp_path, str(tmp_path / "storage")
    scene = make_scene(cast)
    ids = {name: value(scene) for name, value in ARGUMENTS.items()}
    headers = {"Authorization": f"Bearer {make_token(cast.alice)}", "Tus-Resumable": "1.0.0"}
    schema = schemathesis.openapi.from_dict(_schema(tmp_path))
    tried = [_try(result.ok(), ids, headers) for result in schema.get_all_operations()]
    assert len(tried) > 30


@schemathesis.serializer("application/offset+octet-stream")
def octets(context: Any, value: Any) -> bytes:
    """A piece of an upload goes as it is."""
    data = getattr(value, "data", value)
    return data if isinstance(data, bytes) else str(data).encode("utf-8", "replace")


def _try(operation: APIOperation, ids: dict[str, str], headers: dict[str, str]) -> str:
    """Some requests that the schema allows, and some that it does not, to things that exist."""

    @given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Case) -> None:
        case.path_parameters = {name: ids[name] for name in case.path_parameters or {}}
        with transaction.atomic():
            response = _call(case, headers)
            transaction.set_rollback(True)
        assert response.status_code < 500, case.as_curl_command()

    send()
    return str(operation.label)


def _call(case: Case, headers: dict[str, str]) -> Any:
    """Send a case by Django's test client, which leaves the test's transaction open."""
    asked = case.as_transport_kwargs(base_url="http://testserver", headers=headers)
    names = ("method", "url", "params", "headers", "cookies", "data", "json", "files")
    wire = requests.Request(**{name: asked[name] for name in names if name in asked}).prepare()
    address = (wire.url or "").removeprefix("http://testserver")
    sent = {name: value for name, value in wire.headers.items() if name.lower() not in ("content-length", "cookie")}
    kind = str(sent.pop("Content-Type", ""))
    client = Client(raise_request_exception=False)
    return client.generic(wire.method, address, wire.body or b"", content_type=kind, headers=sent)
