"""The clock on the wall is set ahead or back while all goes on: what means a duration lasts as long as it did."""

import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from django.db import transaction
from django.utils import timezone

from apps.core import redis_client as control_redis
from apps.datasets import fetching, tasks, uploads
from apps.datasets.models import Dataset
from apps.training import reaper
from apps.training.models import Job
from tests.cast import Cast
from tests.faults import checkers
from tests.faults.test_beats import trashed
from tests.faults.web import database_url, environment
from tests.serving.conftest import staged
from tests.serving.running import until
from tests.stack import ROOT
from tests.training.stories import queued
from workers.contracts import names
from workers.contracts.fetching import STATE_TTL_S, FetchState
from workers.contracts.snapshot import KeyEntry, Route, Snapshot
from workers.serving.limits import Limits

HOUR, DAY = 3600.0, 86_400.0
SetClock = Callable[[float], None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clock.c, made."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, Path(__file__).with_name("clock.c"), "-ldl"], check=True)
    return made


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> Iterator[tuple[dict[str, str], SetClock]]:
    """What a process is to have in its environment, and how its clock is set: seconds ahead of ours."""
    file = tmp_path / "ahead"

    def set_ahead(seconds: float) -> None:
        file.touch()
        with file.open("r+b") as opened:
            opened.write(struct.pack("d", seconds))

    set_ahead(0)
    yield {"LD_PRELOAD": str(library), "SLIPWAY_TEST_CLOCK": str(file)}, set_ahead


def test_what_is_periodic_goes_on_when_the_clock_is_set_back(
    clock: tuple[dict[str, str], SetClock], redis_client: "redis.Redis[bytes]", redis_server: str, tmp_path: Path
) -> None:
    variables, set_ahead = clock
    (tmp_path / "beat").mkdir()
    environ = {**environment(database_url(), redis_server, tmp_path), **variables}
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "slipway", "beat", "--loglevel=WARNING", "--pidfile="]

    def sends() -> None:
        """Each of the quick tasks comes, once more."""
        redis_client.delete(names.QUEUE_CONTROL)
        until(lambda: b"endpoints.judge_candidates" in b"".join(redis_client.lrange(names.QUEUE_CONTROL, 0, -1)), 30)

    with (tmp_path / "log").open("wb") as log:
        beat = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            for ahead in (0, HOUR, -HOUR, -DAY):
                set_ahead(ahead)
                sends()
        finally:
            beat.kill()
            beat.wait()
            print((tmp_path / "log").read_text())


def test_predictions_do_not_mind(
    clock: tuple[dict[str, str], SetClock], tmp_path: Path, redis_server: str, bundle_folder: Path
) -> None:
    """The routes stay fresh, a rate stays a rate, and whoever may ask may ask."""
    variables, set_ahead = clock
    with staged(tmp_path, redis_server, bundle_folder, **variables) as stage:
        slow = stage.control.add_key(rate_limit=1)
        stage.control.publish()
        until(lambda: stage.predict(["good"], key=slow).status_code == 200)
        for ahead in (HOUR, -HOUR, DAY, 0):
            set_ahead(ahead)
            before = time.monotonic()
            replies = [stage.predict(["good"], key=slow) for _ in range(8)]
            let_in = sum(reply.status_code == 200 for reply in replies)
            assert let_in <= 2 + time.monotonic() - before, "no burst"
            assert all(int(reply.headers["Retry-After"]) == 1 for reply in replies if reply.status_code == 429)
            assert stage.predict(["good"]).status_code == 200
            stage.control.publish()
        until(lambda: stage.predict(["good"], key=slow).status_code == 200)


def test_a_serving_process_whose_clock_is_ahead_counts_no_request_twice_for_long() -> None:
    key = KeyEntry(key="key_a", team="tem_a")
    route = Route(endpoint="end_a", slug="a", team="tem_a", project="prj_a", kind="text", template="t", revisions=[])

    def published(left: int) -> Snapshot:
        """By a control plane whose clock is an hour behind."""
        return Snapshot(
            version=1, published=time.time() - HOUR, routes=[route], keys={}, teams={}, requests_left={"end_a": left}
        )

    limits = Limits()
    limits.update(published(10), 1000.0)
    for _ in range(6):
        limits.take(key, route, 1000.0)
    limits.update(published(4), 1030.0)
    assert limits.take(key, route, 1030.0) == 3


@pytest.mark.django_db(transaction=True)
def test_a_clock_that_was_wrong_once_deletes_nothing(cast: Cast, redis_client: "redis.Redis[bytes]") -> None:
    dataset, _ = trashed(cast)
    remove = tasks.remove_trashed
    remove()
    assert Dataset.every.filter(pk=dataset.pk).exists(), "nobody knows yet what time it is"
    (key,) = redis_client.keys("slipway:turn:*remove_trashed")
    for hours in (-24 * 31, 2):  # the clock was set ahead by a month, or back by hours, since
        redis_client.set(key, time.time() + hours * HOUR)
        remove()
        assert Dataset.every.filter(pk=dataset.pk).exists()
    remove()
    assert not Dataset.every.filter(pk=dataset.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_a_lost_message_is_sent_again_though_the_clock_was_set_back(
    cast: Cast, redis_client: "redis.Redis[bytes]"
) -> None:
    job = queued(cast.ours.version)
    for field in ("queued", "sent"):
        Job.objects.filter(pk=job.pk).update(sent=None, queued=timezone.now() + timedelta(hours=1))
        if field == "sent":
            Job.objects.filter(pk=job.pk).update(sent=timezone.now() + timedelta(hours=1))
        redis_client.delete(job.queue)
        reaper.sweep()
        assert checkers.waiting(redis_client, job) == 1


@pytest.mark.django_db(transaction=True)
def test_a_runner_whose_clock_is_behind_is_not_taken_for_lost(cast: Cast) -> None:
    with transaction.atomic():
        upload = uploads.waiting_upload(cast.alice, cast.ours.team, "a.csv", "https://files.example/a.csv")
    told = FetchState(state="running", time=time.time() - HOUR, read=5)
    control_redis.client().set(names.fetch_key(upload.pk), told.model_dump_json(), ex=STATE_TTL_S)
    found = fetching.look(upload)
    assert found and found.state == "running"
    control_redis.client().set(names.fetch_key(upload.pk), told.model_dump_json(), ex=STATE_TTL_S - 300)
    found = fetching.look(upload)
    assert found and found.state == "failed"
