"""A job's course as server-sent events: each once, in order, only for those who may see it."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from apps.teams.models import Membership, PersonalToken, User
from apps.training.models import Job
from apps.training.stream import event_stream
from tests.cast import Cast, make_token
from tests.training.stories import Teller, queued
from workers.contracts.errors import JobError

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def failed(cast: Cast) -> Job:
    """A job with a whole life behind it."""
    teller = Teller(queued(cast.ours.version))
    teller.start()
    teller.say("progress", fraction=0.5, phase="line\nbreak")
    teller.say("metric", step=1, values={"train/loss": 1.0})
    return teller.say("failed", error=JobError("not_finite").card())


def _parsed(text: str) -> list[dict[str, Any]]:
    frames = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            frames.append({**fields, "data": json.loads(fields["data"])})
    return frames


async def _all(stream: AsyncIterator[bytes]) -> list[dict[str, Any]]:
    return _parsed(b"".join([part async for part in stream]).decode())


async def _get(user: User, job: Job, **headers: str) -> Any:
    token = await sync_to_async(make_token)(user)
    return await AsyncClient().get(
        f"/api/v1/jobs/{job.pk}/events", headers={"Authorization": f"Bearer {token}", **headers}
    )


async def test_the_whole_course_is_told_and_then_the_stream_ends(cast: Cast, failed: Job) -> None:
    response = await _get(cast.victor, failed, Accept="text/event-stream")
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
    frames = await _all(response.streaming_content)
    assert [frame["event"] for frame in frames] == ["started", "progress", "metric", "failed", "state"]
    assert frames[1]["data"]["phase"] == "line\nbreak"
    assert frames[2]["data"]["values"] == {"train/loss": 1.0}
    assert frames[-1]["data"]["state"] == "failed"
    assert frames[-1]["data"]["error"]["code"] == "not_finite"


async def test_whoever_comes_back_gets_what_is_new(cast: Cast, failed: Job) -> None:
    frames = await _all((await _get(cast.bob, failed)).streaming_content)
    rest = await _all((await _get(cast.bob, failed, **{"Last-Event-ID": frames[1]["id"]})).streaming_content)
    assert [frame["event"] for frame in rest] == ["metric", "failed", "state"]
    assert [frame.get("id") for frame in rest] == [frame.get("id") for frame in frames[2:]]


async def test_whoever_has_seen_all_need_not_come_back(cast: Cast, failed: Job) -> None:
    frames = await _all((await _get(cast.bob, failed)).streaming_content)
    assert (await _get(cast.bob, failed, **{"Last-Event-ID": frames[-2]["id"]})).status_code == 204


@pytest.mark.parametrize("sent", ["x", "-1", "1e9", "9" * 40, "²"])
async def test_an_odd_last_event_id_tells_everything(cast: Cast, failed: Job, sent: str) -> None:
    response = await _get(cast.bob, failed, **{"Last-Event-ID": sent})
    assert len(await _all(response.streaming_content)) == 5


async def test_a_stranger_gets_an_error_in_json(cast: Cast, failed: Job) -> None:
    response = await _get(cast.charlie, failed, Accept="text/event-stream")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


async def test_what_happens_meanwhile_is_told(cast: Cast) -> None:
    teller = await sync_to_async(lambda: Teller(queued(cast.ours.version)))()
    stream = event_stream(teller.job.pk, 0, lambda: True, poll_s=0.01)
    assert (await anext(stream)).startswith(b"retry: ")
    assert _parsed((await anext(stream)).decode())[0]["data"]["state"] == "queued"
    await sync_to_async(teller.start)()
    assert [frame["event"] for frame in _parsed((await anext(stream)).decode())] == ["started", "state"]
    await sync_to_async(teller.say)("failed", error=JobError("not_finite").card())
    assert [frame["event"] for frame in await _all(stream)] == ["failed", "state"]


async def test_a_job_that_ends_without_a_word_ends_the_stream(cast: Cast) -> None:
    job = await sync_to_async(queued)(cast.ours.version, state=Job.State.CANCELLED)
    assert [frame["data"]["state"] for frame in await _all(event_stream(job.pk, 0, lambda: True))] == ["cancelled"]


def _removed(cast: Cast) -> None:
    Membership.objects.filter(user=cast.bob).delete()


def _revoked(cast: Cast) -> None:
    PersonalToken.objects.filter(user=cast.bob).update(revoked="2026-01-01T00:00:00Z")


def _deactivated(cast: Cast) -> None:
    User.objects.filter(pk=cast.bob.pk).update(is_active=False)


@pytest.mark.parametrize("change", [_removed, _revoked, _deactivated])
async def test_who_may_not_look_any_more_is_cut_off(
    cast: Cast, change: Callable[[Cast], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await sync_to_async(queued)(cast.ours.version)
    response = await _get(cast.bob, job)
    await sync_to_async(change)(cast)
    frames = await _all(response.streaming_content)  # ends by itself, though the job goes on
    assert [frame["event"] for frame in frames] == ["state"]


async def test_a_browser_that_logged_out_is_cut_off(cast: Cast) -> None:
    job = await sync_to_async(queued)(cast.ours.version)
    client = AsyncClient()
    await sync_to_async(client.force_login)(cast.bob)
    response = await client.get(f"/api/v1/jobs/{job.pk}/events")
    assert response.status_code == 200
    await sync_to_async(client.logout)()
    assert len(await _all(response.streaming_content)) == 1
