"""What members may do with endpoints, and what is published of it."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from apps.core.artifacts import storage
from apps.core.models import AuditEntry
from apps.endpoints import actions, publish, status
from apps.endpoints.models import Endpoint
from apps.registry.models import ModelVersion
from apps.teams.models import Team
from apps.training.runners import live_runners
from tests.cast import Belongings, Cast, make_job, make_model
from workers.contracts import keys, names
from workers.contracts.errors import UserError
from workers.contracts.snapshot import KeyEntry, Route, ServingStatus, Snapshot

Api = Callable[[Any], APIClient]
pytestmark = pytest.mark.usefixtures("redis_client")


def another_model(ours: Belongings, **fields: Any) -> ModelVersion:
    """The project's next model version."""
    return make_model(make_job(ours.version, name="again", state="succeeded"), **fields)


def shares(endpoint: Endpoint) -> dict[int, int]:
    """Revision number → percent."""
    return dict(endpoint.revisions.values_list("number", "traffic"))


def published(client: redis.Redis) -> Snapshot:
    return Snapshot.model_validate_json(client.get(names.SNAPSHOT))


def route_of(client: redis.Redis, endpoint: Endpoint) -> Route | None:
    return next((route for route in published(client).routes if route.endpoint == endpoint.pk), None)


def test_a_new_endpoint_has_all_traffic_on_its_model_and_is_published(
    cast: Cast, redis_client: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        endpoint = actions.create_endpoint(
            actor=cast.bob, project=cast.ours.project, name="  Spam or  not? ", model=cast.ours.model
        )
    assert endpoint.name == "Spam or not?" and endpoint.slug.startswith("spam-or-not-")
    assert shares(endpoint) == {1: 100}
    route = route_of(redis_client, endpoint)
    assert route and (route.team, route.slug, route.kind) == (cast.ours.team.pk, endpoint.slug, "text")
    (revision,) = route.revisions
    assert (revision.model, revision.bundle_sha256) == (cast.ours.model.pk, cast.ours.model.bundle_sha256)
    assert AuditEntry.objects.filter(event="endpoint.created", noun_id=endpoint.pk, actor=cast.bob).count() == 1


def test_names_without_letters_of_the_alphabet_get_an_address_too(cast: Cast) -> None:
    made = [
        actions.create_endpoint(actor=cast.bob, project=cast.ours.project, name=name, model=cast.ours.model)
        for name in ("评论", "---", "../../x", "a" * 120)
    ]
    assert len({endpoint.slug for endpoint in made}) == 4
    assert all(len(endpoint.slug) <= 80 and endpoint.slug.replace("-", "").isalnum() for endpoint in made)


def test_a_canary_takes_its_share_and_a_rollback_gives_it_back(cast: Cast) -> None:
    endpoint, second, third = cast.ours.endpoint, another_model(cast.ours), another_model(cast.ours)
    actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=second, traffic=30)
    assert shares(endpoint) == {1: 70, 2: 30}
    actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=third, traffic=33)
    assert shares(endpoint) == {1: 47, 2: 20, 3: 33}
    actions.roll_back(actor=cast.bob, endpoint=endpoint)
    assert shares(endpoint) == {1: 70, 2: 30, 3: 0}
    actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=second)
    assert shares(endpoint) == {1: 0, 2: 100, 3: 0}
    # The same model at less than all of it: nobody is there to take the rest.
    actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=second, traffic=10)
    assert shares(endpoint) == {1: 0, 2: 100, 3: 0}


@pytest.mark.parametrize("traffic", range(1, 101, 9))
def test_shares_always_sum_to_a_hundred(cast: Cast, traffic: int) -> None:
    endpoint = cast.ours.endpoint
    for model in (another_model(cast.ours), another_model(cast.ours), another_model(cast.ours)):
        actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=model, traffic=traffic)
        assert sum(shares(endpoint).values()) == 100


def test_the_first_revision_cannot_be_rolled_back(cast: Cast) -> None:
    with pytest.raises(UserError) as caught:
        actions.roll_back(actor=cast.bob, endpoint=cast.ours.endpoint)
    assert caught.value.code == "nothing_to_roll_back"


def test_only_a_certified_model_of_the_project_and_kind_is_deployed(cast: Cast) -> None:
    endpoint = cast.ours.endpoint
    failed = another_model(cast.ours, certificate={**cast.ours.model.certificate, "passed": False})
    with pytest.raises(UserError) as caught:
        actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=failed)
    assert caught.value.code == "certificate_missing"
    with pytest.raises(UserError) as caught:
        actions.create_endpoint(actor=cast.bob, project=cast.ours.project, name="x", model=cast.theirs.model)
    assert caught.value.code == "not_found"


@pytest.mark.parametrize(
    ("task", "settings", "thresholds", "reason"),
    [
        ("image-classification", {}, [], "does another task"),
        ("text-classification", {"pairs": True}, [], "takes two texts"),
        ("text-classification", {}, [0.4, 0.5], "answers several labels"),
    ],
)
def test_a_model_that_callers_could_not_use_is_not_deployed(
    cast: Cast, client: Any, task: str, settings: dict[str, Any], thresholds: list[float], reason: str
) -> None:
    manifest = {**cast.ours.model.manifest, "preprocessing": settings, "thresholds": thresholds}
    other = another_model(cast.ours, template=task, manifest=manifest)
    with pytest.raises(UserError) as caught:
        actions.deploy_model(actor=cast.bob, endpoint=cast.ours.endpoint, model=other)
    assert (caught.value.code, caught.value.status) == ("model_mismatch", 409)
    assert reason in caught.value.message
    client.force_login(cast.bob)
    offered = client.get(f"/endpoints/{cast.ours.endpoint.pk}").content.decode()
    assert f'value="{cast.ours.model.pk}"' in offered and f'value="{other.pk}"' not in offered


def test_a_table_model_must_know_the_columns_that_callers_send(cast: Cast) -> None:
    def model(*names: str, ignored: tuple[str, ...] = ()) -> ModelVersion:
        settings = {"columns": [{"name": name, "type": "number"} for name in names], "ignored": list(ignored)}
        manifest = {**cast.ours.model.manifest, "preprocessing": settings}
        return another_model(cast.ours, template="tabular-classification", manifest=manifest)

    endpoint = actions.create_endpoint(
        actor=cast.bob, project=cast.ours.project, name="Churn", model=model("age", "plan")
    )
    with pytest.raises(UserError) as caught:
        actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=model("age", "city"))
    assert "“plan”" in caught.value.message
    actions.deploy_model(actor=cast.bob, endpoint=endpoint, model=model("age", "city", ignored=("plan",)))
    assert shares(endpoint) == {1: 0, 2: 100}


@pytest.mark.parametrize("damage", [b"something else", None])
def test_a_bundle_that_is_not_the_certified_one_is_not_deployed(cast: Cast, damage: bytes | None) -> None:
    model = another_model(cast.ours)
    storage().delete(model.bundle_key)
    if damage:
        storage().put_bytes(damage, model.bundle_key)
    with pytest.raises(UserError) as caught:
        actions.deploy_model(actor=cast.bob, endpoint=cast.ours.endpoint, model=model)
    assert (caught.value.code, caught.value.status) == ("bundle_invalid", 422)
    assert shares(cast.ours.endpoint) == {1: 100}


@pytest.mark.django_db(transaction=True)
def test_a_bundle_is_read_before_a_transaction_begins(
    transactional_db: None, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    right = type(storage()).open

    def watched(store: Any, key: str) -> Any:
        seen.append(connection.in_atomic_block)
        return right(store, key)

    monkeypatch.setattr(type(storage()), "open", watched)
    made = actions.create_endpoint(actor=cast.bob, project=cast.ours.project, name="e", model=cast.ours.model)
    actions.deploy_model(actor=cast.bob, endpoint=made, model=another_model(cast.ours))
    assert seen == [False, False], "a store that is slow would hold locks"


def test_a_revoked_key_is_gone_from_what_is_published(
    cast: Cast, redis_client: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        key, text = actions.create_api_key(actor=cast.ada, team=cast.ours.team, name="shop", rate_limit=5)
    entry = published(redis_client).keys[keys.digest(text)]
    assert entry == KeyEntry(key=key.pk, team=cast.ours.team.pk, rate_limit=5)
    assert text not in redis_client.get(names.SNAPSHOT).decode()
    with django_capture_on_commit_callbacks(execute=True):
        actions.revoke_api_key(actor=cast.ada, key=key)
    assert keys.digest(text) not in published(redis_client).keys


def test_a_key_names_origins_by_form_and_api_and_they_are_published(
    cast: Cast, api_of: Api, client: Any, redis_client: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        body = {"team": cast.ours.team.pk, "name": "page", "origins": ["https://Shop.example/", "http://localhost:80"]}
        made = api_of(cast.ada).post("/api/v1/keys", body)
    assert made.status_code == 201
    wanted = ["https://shop.example", "http://localhost"]
    assert made.json()["origins"] == wanted
    assert published(redis_client).keys[keys.digest(made.json()["key"])].origins == wanted
    client.force_login(cast.ada)
    page = client.post(
        f"/teams/{cast.ours.team.pk}/keys", {"name": "form", "origins": "https://a.example\nhttps://b.example"}
    )
    assert page.status_code == 200 and "https://b.example" in page.content.decode()
    refused = client.post(f"/teams/{cast.ours.team.pk}/keys", {"name": "bad", "origins": "https://a.example/x"})
    assert refused.status_code == 422 and "is no web origin" in refused.content.decode()


def test_a_revocation_that_could_not_be_told_is_not_reported_as_done(
    cast: Cast, api_of: Api, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(Exception, match="unavailable"), django_capture_on_commit_callbacks(execute=True):
        actions.revoke_api_key(actor=cast.alice, key=cast.ours.key)


def test_a_key_is_for_endpoints_of_its_own_team_and_for_the_future(cast: Cast) -> None:
    def create(**fields: Any) -> None:
        actions.create_api_key(actor=cast.alice, team=cast.ours.team, name="x", **fields)

    for fields, code in (
        ({"endpoints": [cast.theirs.endpoint]}, "not_found"),
        ({"expires": timezone.now() - timedelta(seconds=1)}, "invalid"),
        ({"rate_limit": 0.0}, "invalid"),
        ({"rate_limit": float("nan")}, "invalid"),
        ({"origins": ["*"]}, "invalid"),
        ({"origins": ["https://shop.example", "https://shop.example/path"]}, "invalid"),
        ({"origins": [""]}, "invalid"),
        ({"origins": [f"https://{n}.example" for n in range(21)]}, "invalid"),
    ):
        with pytest.raises(UserError) as caught:
            create(**fields)
        assert caught.value.code == code


def test_publishing_again_changes_nothing_unless_something_changed(cast: Cast, redis_client: redis.Redis) -> None:
    assert publish.publish_if_changed()
    first = published(redis_client)
    assert not publish.publish_if_changed()
    assert published(redis_client) == first
    redis_client.delete(names.SNAPSHOT)
    assert publish.publish_if_changed()
    redis_client.delete(names.SNAPSHOT_VERSION)
    assert publish.publish_if_changed()
    assert published(redis_client).version > first.version
    redis_client.flushall()
    assert publish.publish_if_changed()
    Team.objects.filter(pk=cast.ours.team.pk).update(monthly_requests=10)
    assert publish.publish_if_changed()
    assert published(redis_client).teams[cast.ours.team.pk].requests_left == 10


def test_a_snapshot_is_made_in_few_queries(cast: Cast, django_assert_max_num_queries: Any) -> None:
    for number in range(5):
        actions.create_endpoint(
            actor=cast.bob, project=cast.ours.project, name=f"e{number}", model=another_model(cast.ours)
        )
        actions.create_api_key(actor=cast.alice, team=cast.ours.team, name="k", endpoints=[cast.ours.endpoint])
    with django_assert_max_num_queries(8):
        publish.build(1)


# --- The API ---


def test_an_endpoint_is_deployed_looked_at_rolled_back_and_deleted(cast: Cast, api_of: Api) -> None:
    api, second = api_of(cast.alice), another_model(cast.ours)
    body = {"project": cast.ours.project.pk, "name": "Spam", "model": cast.ours.model.pk}
    made = api.post("/api/v1/endpoints", body)
    assert made.status_code == 201
    endpoint = made.json()
    assert {"id", "slug", "state", "url", "revisions"} <= set(endpoint)
    address = f"/api/v1/endpoints/{endpoint['id']}"
    assert api.post(f"{address}/deploy", {"model": second.pk, "traffic": 40}).status_code == 202
    assert {r["model"]: r["traffic"] for r in api.get(address).json()["revisions"]} == {
        cast.ours.model.pk: 60,
        second.pk: 40,
    }
    assert api.post(f"{address}/rollback").status_code == 202
    assert {r["traffic"] for r in api.get(address).json()["revisions"]} == {100, 0}
    assert api.delete(address).status_code == 204
    assert api.get(address).status_code == 404


@pytest.mark.parametrize("traffic", [101, -1, "many", 1.5, None])
def test_a_share_is_a_percentage(cast: Cast, api_of: Api, traffic: Any) -> None:
    body = {"model": cast.ours.model.pk, "traffic": traffic}
    assert api_of(cast.alice).post(f"/api/v1/endpoints/{cast.ours.endpoint.pk}/deploy", body).status_code == 422


def test_what_a_stranger_names_does_not_exist(cast: Cast, api_of: Api) -> None:
    mine, api = cast.theirs, api_of(cast.charlie)
    ours = cast.ours
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("get", f"/api/v1/endpoints/{ours.endpoint.pk}", {}),
        ("post", "/api/v1/endpoints", {"project": ours.project.pk, "name": "x", "model": mine.model.pk}),
        ("post", "/api/v1/endpoints", {"project": mine.project.pk, "name": "x", "model": ours.model.pk}),
        ("post", f"/api/v1/endpoints/{mine.endpoint.pk}/deploy", {"model": ours.model.pk}),
        ("post", f"/api/v1/endpoints/{ours.endpoint.pk}/rollback", {}),
        ("delete", f"/api/v1/endpoints/{ours.endpoint.pk}", {}),
        ("post", "/api/v1/keys", {"team": ours.team.pk, "name": "x"}),
        ("post", "/api/v1/keys", {"team": mine.team.pk, "name": "x", "endpoints": [ours.endpoint.pk]}),
        ("delete", f"/api/v1/keys/{ours.key.pk}", {}),
        ("get", f"/api/v1/keys?team={ours.team.pk}", {}),
    ]
    before = Endpoint.objects.count(), AuditEntry.objects.count()
    for method, path, body in calls:
        reply = getattr(api, method)(path, body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found"), (method, path)
    assert (Endpoint.objects.count(), AuditEntry.objects.count()) == before


def test_a_viewer_looks_and_touches_nothing(cast: Cast, api_of: Api) -> None:
    api, ours = api_of(cast.victor), cast.ours
    assert api.get(f"/api/v1/endpoints/{ours.endpoint.pk}").status_code == 200
    for path, body in (
        ("/api/v1/endpoints", {"project": ours.project.pk, "name": "x", "model": ours.model.pk}),
        (f"/api/v1/endpoints/{ours.endpoint.pk}/deploy", {"model": ours.model.pk}),
        (f"/api/v1/endpoints/{ours.endpoint.pk}/rollback", {}),
        ("/api/v1/keys", {"team": ours.team.pk, "name": "x"}),
    ):
        assert api.post(path, body).status_code == 403, path


def test_a_key_is_shown_once(cast: Cast, api_of: Api) -> None:
    api = api_of(cast.alice)
    made = api.post("/api/v1/keys", {"team": cast.ours.team.pk, "name": "shop", "endpoints": [cast.ours.endpoint.pk]})
    assert made.status_code == 201
    body = made.json()
    assert body["key"].startswith(body["prefix"])
    listed = api.get("/api/v1/keys", {"team": cast.ours.team.pk})
    assert body["key"] not in listed.content.decode()
    assert [key["endpoints"] for key in listed.json()["results"] if key["id"] == body["id"]] == [
        [cast.ours.endpoint.pk]
    ]
    assert api.delete(f"/api/v1/keys/{body['id']}").status_code == 204
    assert api.delete(f"/api/v1/keys/{body['id']}").status_code == 204


def test_an_endpoint_is_ready_when_every_serving_process_says_so(
    cast: Cast, api_of: Api, redis_client: redis.Redis
) -> None:
    (revision,) = cast.ours.endpoint.revisions.all()

    def say(process: str, state: str) -> None:
        said = ServingStatus(process=process, version=1, revisions={revision.pk: state}, time=0)
        redis_client.set(names.serving_key(process), said.model_dump_json())
        redis_client.sadd(names.SERVERS, process)

    def shown() -> tuple[str, str]:
        found = api_of(cast.victor).get(f"/api/v1/endpoints/{cast.ours.endpoint.pk}").json()
        return found["state"], found["revisions"][0]["problem"]

    assert shown()[0] == "deploying"
    say("one", "ready")
    assert shown() == ("ready", "")
    say("two", "loading")
    assert shown()[0] == "deploying"
    say("two", "failed: The bundle is damaged.")
    assert shown() == ("failed", "The bundle is damaged.")
    assert json.loads(redis_client.get(names.serving_key("one")))["version"] == 1
    # One that is killed says nothing more: its key runs out, and soon nobody waits for it.
    redis_client.delete(names.serving_key("two"))
    assert shown() == ("ready", "")
    assert redis_client.smembers(names.SERVERS) == {b"one"}


def test_who_is_alive_is_known_without_a_look_at_every_key(cast: Cast, redis_client: redis.Redis) -> None:
    redis_client.config_resetstat()
    status.serving_processes()
    live_runners()
    commands = redis_client.info("commandstats")
    assert "cmdstat_smembers" in commands
    assert not {"cmdstat_scan", "cmdstat_keys"} & set(commands)
