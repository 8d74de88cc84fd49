"""How programs may ask: any `Accept`, HEAD and OPTIONS; a field that nobody knows is told, however deep it lies."""

import gzip
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from tests.access.matrix import API, ARGUMENTS, Line
from tests.access.routes import fill
from tests.access.scene import Scene, make_scene
from tests.api.test_error_shape import UNKNOWN, WRITES, one_shape
from tests.cast import Cast, make_token

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]
READS = [line for line in API if line.method == "GET" and line.statuses[0] == 200 and "uploads/" not in line.route]


@pytest.fixture
def client(cast: Cast) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_token(cast.alice)}"}, raise_request_exception=False)


def _ask(method: str, line: Line, scene: Scene, client: Client, **headers: str) -> Any:
    arguments = {name: (line.arguments.get(name) or value)(scene) for name, value in ARGUMENTS.items()}
    query = line.query(scene) if line.query else {}
    return client.generic(method, fill(line.route, arguments), query_params=query, headers=headers)


def test_head_is_get_without_the_body(cast: Cast, client: Client) -> None:
    scene = make_scene(cast)
    assert len(READS) > 30
    for line in READS:
        whole, head = _ask("GET", line, scene, client), _ask("HEAD", line, scene, client)
        assert (head.status_code, head.headers["Content-Type"]) == (200, whole.headers["Content-Type"]), line.route
        assert not head.streaming, line.route
        if "Content-Length" in whole.headers and whole.streaming:
            assert head.headers["Content-Length"] == whole.headers["Content-Length"], line.route


def test_answers_are_what_they_are_whatever_is_accepted(cast: Cast, client: Client) -> None:
    scene = make_scene(cast)
    for line in READS:
        plain = _ask("GET", line, scene, client)
        for accepted in ("text/csv", "text/html", "application/zip", "application/x-unknown"):
            found = _ask("GET", line, scene, client, Accept=accepted)
            assert (found.status_code, found.headers["Content-Type"]) == (200, plain.headers["Content-Type"]), (
                line.route
            )
    one_shape(client.get("/api/v1/jobs/unknown", headers={"Accept": "text/event-stream"}), 404, "not_found")


def test_options_names_the_methods(client: Client) -> None:
    found = client.options("/api/v1/projects")
    assert (found.status_code, found.content) == (200, b"")
    assert {"GET", "POST"} <= set(found["Allow"].split(", "))


def test_a_field_that_nobody_knows_is_told_within_lists(cast: Cast, client: Client) -> None:
    body = {"changes": [{"row": 0, "label": "good"}, {"row": 1, "split": "test", "lable": "bad"}]}
    address = f"/api/v1/datasets/{cast.ours.dataset.pk}/rows"
    error = one_shape(client.patch(address, body, content_type="application/json"), 422, "invalid")
    assert error["params"]["fields"] == [{"field": "changes.1.lable", "message": "unknown field"}]


def test_a_packed_body_is_refused_as_such(client: Client) -> None:
    body = gzip.compress(b'{"name": "New"}')
    found = client.post("/api/v1/projects", body, content_type="application/json", headers={"Content-Encoding": "gzip"})
    one_shape(found, 415, "unsupported_media_type")


@pytest.mark.parametrize("line", WRITES, ids=lambda line: f"{line.method} {line.route}")
def test_forms_are_taken_where_files_are(line: Line, client: Client) -> None:
    found = client.generic(
        line.method, fill(line.route, UNKNOWN), b"zz=1", content_type="application/x-www-form-urlencoded"
    )
    if line.route in ("api/v1/datasets", "api/v1/predictions", "api/v1/datasets/<str:dataset_id>/append"):
        assert found.status_code in (404, 422)
    else:
        assert found.status_code in (404, 415)


def test_a_form_names_an_upload(cast: Cast) -> None:
    scene = make_scene(cast)
    client = Client(headers={"Authorization": f"Bearer {make_token(cast.bob)}"})
    body = {"project": cast.ours.project.pk, "name": "New", "kind": "text", "upload": scene.upload.pk}
    found = client.post("/api/v1/datasets", urlencode(body), content_type="application/x-www-form-urlencoded")
    assert (found.status_code, found.json()["state"]) == (202, "processing")


def test_keys_are_listed_of_all_teams_of_mine_or_of_one(cast: Cast, client: Client) -> None:
    def listed(query: str) -> set[str]:
        return {key["id"] for key in client.get(f"/api/v1/keys{query}").json()["results"]}

    assert listed("") == listed(f"?team={cast.ours.team.pk}") == {cast.ours.key.pk}
    one_shape(client.get(f"/api/v1/keys?team={cast.theirs.team.pk}"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "address", "body", "field"),
    [
        ("GET", "/api/v1/jobs?colour=red", None, "colour"),
        ("GET", "/api/v1/jobs?kind=train&kind=ingest", None, "kind"),
        ("POST", "/api/v1/jobs", {"template": "no-such"}, "template"),
        ("POST", "/api/v1/jobs", {"template": "image-classification"}, "template"),
    ],
)
def test_what_is_not_valid_is_named(
    cast: Cast, client: Client, method: str, address: str, body: dict[str, str] | None, field: str
) -> None:
    whole = {"project": cast.ours.project.pk, "dataset": cast.ours.dataset.pk, **(body or {})}
    found = client.generic(method, address, json.dumps(whole), content_type="application/json")
    assert [one["field"] for one in one_shape(found, 422)["params"]["fields"]] == [field]
