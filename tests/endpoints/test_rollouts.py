"""A model on trial: how it begins, what is published of it, how it is judged, and how it ends."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.test import Client
from rest_framework.test import APIClient

from apps.core.models import AuditEntry
from apps.endpoints import actions, publish, rollouts, tasks, traffic
from apps.endpoints.models import Endpoint, Rollout
from apps.endpoints.rollouts import Rule
from apps.registry.models import ModelVersion
from apps.teams.models import User
from apps.usage import ledger
from tests.cast import Belongings, Cast, make_job, make_model
from tests.usage.records import record
from workers.contracts import names
from workers.contracts.errors import UserError
from workers.contracts.shadow import ShadowTally
from workers.contracts.snapshot import Route, ServingStatus, Snapshot

Api = Callable[[Any], APIClient]
pytestmark = pytest.mark.usefixtures("redis_client")


@pytest.fixture
def second(cast: Cast) -> ModelVersion:
    """The project's next model version."""
    return make_model(make_job(cast.ours.version, name="again", state="succeeded"))


def shares(endpoint: Endpoint) -> dict[int, int]:
    return dict(endpoint.revisions.values_list("number", "traffic"))


def states(endpoint: Endpoint) -> list[str]:
    """Of the endpoint's rollouts, oldest first."""
    return list(endpoint.rollouts.order_by("started").values_list("state", flat=True))


def route(endpoint: Endpoint) -> Route:
    return next(one for one in publish.build(1).routes if one.endpoint == endpoint.pk)


def answered(ours: Belongings, endpoint: Endpoint, number: int, count: int, **fields: Any) -> None:
    """Requests that a revision has answered, as the recorder writes them."""
    revision = endpoint.revisions.get(number=number)
    made = [
        record(ours, endpoint=endpoint.pk, revision=revision.pk, model=revision.model_id, **fields)
        for _ in range(count)
    ]
    ledger.apply([(f"{int(one.time * 1000)}-0", {b"r": one.model_dump_json().encode()}) for one in made])


def deploy(cast: Cast, model: ModelVersion, **how: Any) -> Endpoint:
    actions.deploy_model(actor=cast.bob, endpoint=cast.ours.endpoint, model=model, **how)
    return cast.ours.endpoint


def test_a_candidate_without_traffic_is_published_for_those_who_name_it(cast: Cast, second: ModelVersion) -> None:
    endpoint = deploy(cast, second, traffic=0, shadow=30)
    assert shares(endpoint) == {1: 100, 2: 0}
    published, candidate = route(endpoint), endpoint.revisions.get(number=2)
    assert [revision.revision for revision in published.revisions][-1] == published.candidate == candidate.pk
    assert published.shadow and (published.shadow.revision, published.shadow.share) == (candidate.pk, 30)
    actions.roll_back(actor=cast.bob, endpoint=endpoint)
    published = route(endpoint)
    assert (len(published.revisions), published.candidate, published.shadow) == (1, None, None)
    assert states(endpoint) == ["rolled_back"]


def test_a_model_that_replaces_the_other_at_once_is_not_on_trial(cast: Cast, second: ModelVersion) -> None:
    assert not deploy(cast, second).rollouts.exists()


def test_a_promotion_ends_the_trial_and_a_rollback_brings_back_what_was_before_it(
    cast: Cast, second: ModelVersion
) -> None:
    endpoint = deploy(cast, second, traffic=10)
    deploy(cast, second, traffic=50)
    assert (shares(endpoint), states(endpoint)) == ({1: 50, 2: 50}, ["superseded", "running"])
    actions.promote_candidate(actor=cast.bob, endpoint=endpoint)
    assert (shares(endpoint), states(endpoint)) == ({1: 0, 2: 100}, ["superseded", "promoted"])
    assert len(route(endpoint).revisions) == 2, "the model before stays warm"
    actions.roll_back(actor=cast.bob, endpoint=endpoint)
    assert shares(endpoint) == {1: 100, 2: 0}
    with pytest.raises(UserError) as caught:
        actions.promote_candidate(actor=cast.bob, endpoint=endpoint)
    assert caught.value.code == "nothing_to_promote"


def test_a_rollback_of_a_trial_takes_the_candidate_off_whatever_its_steps(cast: Cast, second: ModelVersion) -> None:
    endpoint = deploy(cast, second, traffic=10)
    deploy(cast, second, traffic=50)
    actions.roll_back(actor=cast.bob, endpoint=endpoint)
    assert (shares(endpoint), states(endpoint)) == ({1: 100, 2: 0}, ["superseded", "rolled_back"])


def test_a_guarded_candidate_with_all_traffic_can_get_less_and_another_rule(cast: Cast, second: ModelVersion) -> None:
    endpoint = deploy(cast, second, traffic=100, rule=Rule(max_error_percent=5))
    deploy(cast, second, traffic=100, rule=Rule(max_p99_ms=50))
    assert [rollout.max_p99_ms for rollout in Rollout.objects.judged()] == [50]
    deploy(cast, second, traffic=40, rule=Rule(max_p99_ms=50))
    assert (shares(endpoint), states(endpoint)) == ({1: 60, 2: 40}, ["superseded", "superseded", "running"])


@pytest.mark.parametrize("how", [{"rule": Rule(max_error_percent=5)}, {"shadow": 50}])
def test_a_model_alone_has_nothing_to_be_compared_with_or_to_go_back_to(cast: Cast, how: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        deploy(cast, cast.ours.model, **how)
    assert caught.value.code == "invalid"
    assert not Rollout.objects.exists()


def test_another_candidate_supersedes_the_first(cast: Cast, second: ModelVersion) -> None:
    third = make_model(make_job(cast.ours.version, name="third", state="succeeded"))
    endpoint = deploy(cast, second, traffic=20)
    deploy(cast, third, traffic=10)
    assert states(endpoint) == ["superseded", "running"]
    deploy(cast, third, traffic=100)
    assert states(endpoint) == ["superseded", "promoted"]


BAD = {"status": 500, "code": "prediction_failed"}
SLOW = {"latency_us": 80_000}


@pytest.mark.parametrize(
    ("rule", "good", "bad", "how", "broken"),
    [
        (Rule(50, max_error_percent=5), 46, 4, BAD, "errors"),
        (Rule(50, max_error_percent=10), 46, 4, BAD, None),
        (Rule(50, max_error_percent=5), 20, 20, BAD, None),  # too few to be judged
        (Rule(50, max_error_percent=5), 20, 30, {"status": 422, "code": "input_invalid"}, None),  # the client's fault
        (Rule(50, max_p99_ms=50), 40, 10, SLOW, "p99"),
        (Rule(50, max_p99_ms=100), 40, 10, SLOW, None),
        (Rule(20, max_error_percent=5), 0, 0, {}, None),
        # Only the last answers are judged: many good ones before do not hide what is wrong now.
        (Rule(20, max_error_percent=50), 300, 15, BAD, "errors"),
    ],
)
def test_a_candidate_is_taken_back_when_it_breaks_its_rule(
    cast: Cast, second: ModelVersion, rule: Rule, good: int, bad: int, how: dict[str, Any], broken: str | None
) -> None:
    endpoint = deploy(cast, second, traffic=100, rule=rule)
    assert (shares(endpoint), states(endpoint)) == ({1: 0, 2: 100}, ["running"])
    answered(cast.ours, endpoint, 1, 100, **BAD)  # the other model's errors are not the candidate's
    answered(cast.ours, endpoint, 2, good, latency_us=5_000)
    answered(cast.ours, endpoint, 2, bad, **how)
    tasks.judge_candidates()
    tasks.judge_candidates()
    rollout = rollouts.latest(endpoint)
    taken_back = AuditEntry.objects.filter(event="endpoint.taken_back", noun_id=endpoint.pk, actor=None)
    assert rollout is not None
    if broken is None:
        assert (shares(endpoint), states(endpoint)) == ({1: 0, 2: 100}, ["running"])
        assert not taken_back.exists() and rollouts.why(rollout) == ""
    else:
        assert (shares(endpoint), states(endpoint)) == ({1: 100, 2: 0}, ["rolled_back"])
        assert taken_back.get().data["what"] == broken
        assert route(endpoint).candidate is None and "the rule allows" in rollouts.why(rollout)


def test_what_a_model_did_before_its_trial_is_not_held_against_it(cast: Cast, second: ModelVersion) -> None:
    endpoint = deploy(cast, second, traffic=50, rule=Rule(20, max_error_percent=5))
    answered(cast.ours, endpoint, 2, 30, **BAD)
    tasks.judge_candidates()
    assert states(endpoint) == ["rolled_back"]
    deploy(cast, second, traffic=50, rule=Rule(20, max_error_percent=5))
    tasks.judge_candidates()
    assert states(endpoint) == ["rolled_back", "running"]


def test_the_measured_split_counts_from_the_last_change_and_without_those_who_chose(
    cast: Cast, second: ModelVersion
) -> None:
    endpoint = cast.ours.endpoint
    answered(cast.ours, endpoint, 1, 50)
    deploy(cast, second, traffic=20)
    answered(cast.ours, endpoint, 1, 30)
    answered(cast.ours, endpoint, 2, 10)
    answered(cast.ours, endpoint, 2, 40, pinned=True)
    endpoint.refresh_from_db()
    split = traffic.measured(endpoint)
    assert split.requests == 40
    assert split.shares == {endpoint.revisions.get(number=n).pk: share for n, share in ((1, 0.75), (2, 0.25))}


def tallied(rollout: Rollout, process: str, seq: int, **sums: Any) -> tuple[str, dict[bytes, bytes]]:
    tally = ShadowTally(rollout=rollout.pk, process=process, seq=seq, **sums)
    return f"{seq}-0", {b"r": tally.model_dump_json().encode()}


def test_tallies_of_copies_add_up_over_processes_and_count_once_however_they_come(
    cast: Cast, second: ModelVersion
) -> None:
    rollout = rollouts.running(deploy(cast, second, traffic=0, shadow=100))
    assert rollout is not None
    first = tallied(rollout, "one", 1, copies=10, items=10, agreed=9)
    later = tallied(rollout, "one", 2, copies=30, items=30, agreed=24, changes=[("a", "b", 6)], failed=1)
    other = tallied(rollout, "two", 1, copies=10, items=10, agreed=6, changes=[("a", "b", 3), ("b", "a", 1)])
    gone = tallied(Rollout(pk="rol_" + "a" * 24), "one", 1, copies=99)
    for entries in ([first], [later, other, gone], [first], [other, later, first]):
        rollouts.apply(entries)
    found = rollouts.compared(rollout)
    assert (found.copies, found.items, found.agreement, found.failed) == (40, 40, 0.75, 1)
    assert found.changes == [("a", "b", 9), ("b", "a", 1)]
    with pytest.raises(ValueError, match="rollout"):
        rollouts.apply([("1-0", {b"r": b"{}"})])


@pytest.mark.parametrize(
    ("rule", "last", "broken"),
    [
        (Rule(20, max_error_percent=5), [1000] * 30 + [-1] * 3, "copies_errors"),
        (Rule(20, max_error_percent=5), [-1] * 3 + [1000] * 30, None),  # long ago
        (Rule(200, max_error_percent=5), [-1] * 30, None),  # too few to be judged
        (Rule(20, max_p99_ms=50), [80_000] * 30, "copies_p99"),
        (Rule(20, max_p99_ms=100), [80_000] * 30, None),
        (Rule(5000, max_p99_ms=50), [80_000] * 1000, "copies_p99"),  # no process tells more
    ],
)
def test_a_candidate_that_only_gets_copies_is_judged_by_them(
    cast: Cast, second: ModelVersion, rule: Rule, last: list[int], broken: str | None
) -> None:
    endpoint = deploy(cast, second, traffic=0, shadow=100, rule=rule)
    rollout = rollouts.running(endpoint)
    assert rollout is not None
    rollouts.apply([tallied(rollout, "one", 1, copies=len(last), failed=last.count(-1), last=last)])
    tasks.judge_candidates()
    rollout.refresh_from_db()
    assert rollout.broken == (rollout.broken or {}) | {"what": broken} if broken else rollout.broken is None
    assert (rollout.state == "rolled_back", route(endpoint).shadow is None) == (bool(broken), bool(broken))
    assert ("copies" in rollouts.why(rollout)) == bool(broken)


def test_the_same_candidate_deployed_again_is_judged_afresh(cast: Cast, second: ModelVersion) -> None:
    rule = Rule(20, max_error_percent=5)
    endpoint = deploy(cast, second, traffic=50, shadow=50, rule=rule)
    answered(cast.ours, endpoint, 2, 30, **BAD)
    first = rollouts.running(endpoint)
    assert first is not None
    rollouts.apply([tallied(first, "one", 1, copies=40, items=40, failed=40, last=[-1] * 40)])
    deploy(cast, second, traffic=20, shadow=50, rule=rule)
    tasks.judge_candidates()
    fresh = rollouts.running(endpoint)
    assert states(endpoint) == ["superseded", "running"] and fresh is not None
    assert rollouts.findings(fresh).requests == 0 and rollouts.compared(fresh).copies == 0
    actions.roll_back(actor=cast.bob, endpoint=endpoint)
    assert shares(endpoint) == {1: 100, 2: 0}


# --- The API and the page ---


def test_a_trial_is_begun_watched_and_ended_by_the_api(cast: Cast, api_of: Api, second: ModelVersion) -> None:
    api, address = api_of(cast.bob), f"/api/v1/endpoints/{cast.ours.endpoint.pk}"
    rule = {"requests": 200, "max_error_percent": 2.5, "max_p99_ms": None}
    body = {"model": second.pk, "traffic": 5, "shadow": 20, "rule": rule}
    begun = api.post(f"{address}/deploy", body, format="json")
    assert begun.status_code == 202
    rollout = api.get(address).json()["rollout"]
    assert (rollout["state"], rollout["shadow"], rollout["rule"]) == ("running", 20, rule)
    assert rollout["findings"] == {"requests": 0, "failed": 0, "p99_ms": None}
    assert rollout["compared"]["agreement"] is None
    promoted = api.post(f"{address}/promote").json()
    assert promoted["rollout"]["state"] == "promoted"
    assert {row["model"]: row["traffic"] for row in promoted["revisions"]}[second.pk] == 100
    assert api.post(f"{address}/promote").json()["error"]["code"] == "nothing_to_promote"


@pytest.mark.parametrize(
    "wrong",
    [
        {"traffic": 101},
        {"shadow": 101},
        {"shadow": -1},
        {"rule": {"requests": 0, "max_error_percent": 5}},
        {"rule": {"requests": 10_001, "max_error_percent": 5}},
        {"rule": {"max_error_percent": 101}},
        {"rule": {"max_p99_ms": 0}},
        {"rule": {"max_p99": 5}},
    ],
)
def test_a_trial_that_makes_no_sense_is_refused(
    cast: Cast, api_of: Api, second: ModelVersion, wrong: dict[str, Any]
) -> None:
    address = f"/api/v1/endpoints/{cast.ours.endpoint.pk}"
    reply = api_of(cast.bob).post(f"{address}/deploy", {"model": second.pk, **wrong}, format="json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid")
    assert shares(cast.ours.endpoint) == {1: 100}


@pytest.fixture
def bobs_page(cast: Cast, browser_of: Callable[[User], Client]) -> Iterator[Callable[[], str]]:
    client = browser_of(cast.bob)
    yield lambda: client.get(f"/endpoints/{cast.ours.endpoint.pk}").content.decode()


def test_the_page_shows_the_trial_and_why_it_ended(
    cast: Cast, second: ModelVersion, bobs_page: Callable[[], str]
) -> None:
    endpoint = deploy(cast, second, traffic=20, shadow=50, rule=Rule(20, max_error_percent=5))
    answered(cast.ours, endpoint, 1, 60)
    answered(cast.ours, endpoint, 2, 15)
    rollout = rollouts.running(endpoint)
    assert rollout is not None
    rollouts.apply([tallied(rollout, "one", 1, copies=40, items=40, agreed=38, changes=[("good", "bad", 2)])])
    shown = bobs_page()
    assert "On trial: #2 again" in shown and "measured 20.0 % of 75 requests" in shown
    assert "95.0 %" in shown and "judged from 20 answers on, 15 so far" in shown
    answered(cast.ours, endpoint, 2, 5, **BAD)
    tasks.judge_candidates()
    shown = bobs_page()
    assert "On trial" not in shown
    assert "Slipway took #2 again back by its rule" in shown
    assert "25 % of its last 20 answers were errors; the rule allows 5 %." in shown


def test_the_page_says_why_a_candidate_does_not_load(
    cast: Cast, second: ModelVersion, bobs_page: Callable[[], str], redis_client: redis.Redis
) -> None:
    endpoint = deploy(cast, second, traffic=100, rule=Rule(max_error_percent=5))
    first, candidate = endpoint.revisions.order_by("number")
    said = {first.pk: "ready", candidate.pk: "failed: Loading it ends the process."}
    status = ServingStatus(process="one", version=1, revisions=said, time=0)
    redis_client.set(names.serving_key("one"), status.model_dump_json())
    redis_client.sadd(names.SERVERS, "one")
    shown = bobs_page()
    assert "could not be loaded; the one before goes on answering" in shown
    assert "Loading it ends the process." in shown


def test_the_form_begins_a_trial_and_says_what_it_cannot_do(
    cast: Cast, second: ModelVersion, browser_of: Callable[[User], Client]
) -> None:
    client, endpoint = browser_of(cast.bob), cast.ours.endpoint
    form = {"model": second.pk, "traffic": "10", "shadow": "", "max_error_percent": "5", "requests": "50"}
    address = f"/endpoints/{endpoint.pk}/deploy"
    wrong = client.post(address, form | {"traffic": "200"})
    assert wrong.status_code == 422 and "less than or equal to 100" in wrong.content.decode()
    assert client.post(address, form).status_code == 303
    rollout = rollouts.running(endpoint)
    assert rollout and (rollout.requests, rollout.max_error_percent, rollout.max_p99_ms) == (50, 5.0, None)
    assert client.post(f"/endpoints/{endpoint.pk}/promote").status_code == 303
    assert shares(endpoint) == {1: 0, 2: 100}


def test_an_automatic_rollback_is_published_at_once(
    cast: Cast, second: ModelVersion, redis_client: redis.Redis, django_capture_on_commit_callbacks: Any
) -> None:
    endpoint = deploy(cast, second, traffic=100, rule=Rule(10, max_error_percent=1))
    answered(cast.ours, endpoint, 2, 10, **BAD)
    with django_capture_on_commit_callbacks(execute=True):
        tasks.judge_candidates()
    (published,) = [
        one
        for one in Snapshot.model_validate(json.loads(redis_client.get(names.SNAPSHOT))).routes
        if one.endpoint == endpoint.pk
    ]
    assert {revision.number: revision.traffic for revision in published.revisions} == {1: 100, 2: 0}
