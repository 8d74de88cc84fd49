"""Processes are killed under load. Every answer that a client received is in the ledger exactly once.

U1: received ⊆ ledger, with its status. U2: ledger − received ⊆ broken connections. U3: the sums equal the ledger.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings

from apps.usage.models import LedgerEntry, StreamPosition
from slipway import embedded
from tests.serving.clients import asking
from tests.serving.conftest import Stage, staged
from tests.serving.running import serving, until
from tests.stack import ROOT
from tests.usage.checkers import check_ledger, check_sums
from workers.contracts import names

pytestmark = pytest.mark.django_db(transaction=True)


class Recording:
    """`manage.py record` on the test database; may be killed and started again."""

    def __init__(self, redis_url: str, log: Path) -> None:
        name = settings.DATABASES["default"]["NAME"]
        database_url = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
        self._environ = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
        self._environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'platform'}"
        self._log = log
        self.start()

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as out:
            command = [sys.executable, str(ROOT / "manage.py"), "record"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environ, stdout=out, stderr=out)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)


@contextlib.contextmanager
def recording(redis_url: str, log: Path) -> Iterator[Recording]:
    """A recorder while the block runs."""
    recorder = Recording(redis_url, log)
    try:
        yield recorder
    finally:
        if recorder.process.poll() is None:
            recorder.stop()


def caught_up(client: "redis.Redis[bytes]") -> bool:
    """Whether everything in the stream has been applied."""
    newest = client.xinfo_stream(names.STREAM_USAGE)["last-generated-id"].decode()
    return StreamPosition.objects.filter(stream=names.STREAM_USAGE, position=newest).exists()


def test_the_recorder_is_killed_again_and_again(own_stage: Stage, redis_server: str, tmp_path: Path) -> None:
    client = own_stage.control.client
    with recording(redis_server, tmp_path / "recorder.log") as recorder:
        with asking(own_stage.serving.port, "reviews", own_stage.key) as seen:
            for _ in range(4):
                count = LedgerEntry.objects.count()
                until(lambda count=count: LedgerEntry.objects.count() > count)
                assert recorder.stop(signal.SIGKILL) == -signal.SIGKILL
                recorder.start()
        until(lambda: caught_up(client), 60)
        assert recorder.stop() == 0
    assert set(seen.statuses()) == {200} and len(seen.answers) > 500 and not seen.broken
    check_ledger(seen.answers)
    check_sums()


def test_two_recorders_count_once(own_stage: Stage, redis_server: str, tmp_path: Path) -> None:
    log = tmp_path / "recorder.log"
    with recording(redis_server, log), recording(redis_server, log):
        with asking(own_stage.serving.port, "reviews", own_stage.key) as seen:
            until(lambda: LedgerEntry.objects.count() > 500)
        until(lambda: caught_up(own_stage.control.client), 60)
    check_ledger(seen.answers)
    check_sums()


def test_serving_is_killed_and_comes_back_on_its_cache(tmp_path: Path, redis_server: str, bundle_folder: Path) -> None:
    with staged(tmp_path, redis_server, bundle_folder) as stage, recording(redis_server, tmp_path / "log") as recorder:
        port = stage.serving.port
        with asking(port, "reviews", stage.key) as seen:
            for _ in range(2):
                count = len(seen.answers)
                until(lambda count=count: len(seen.answers) > count + 300)
                assert stage.serving.stop(signal.SIGKILL) == -signal.SIGKILL
                stage.serving.process = stage.serving.again()
                until(lambda count=count: len(seen.answers) > count + 600)
        until(lambda: caught_up(stage.control.client), 60)
        assert recorder.stop() == 0
    assert seen.broken and not seen.wrong
    check_ledger(seen.answers, broken=seen.broken + seen.uncounted)
    check_sums()


def test_serving_ends_cleanly_under_load(tmp_path: Path, redis_server: str, bundle_folder: Path) -> None:
    """SIGTERM: whoever was let in is answered, and the answer is counted."""
    with staged(tmp_path, redis_server, bundle_folder) as stage, recording(redis_server, tmp_path / "log"):
        with asking(stage.serving.port, "reviews", stage.key) as seen:
            until(lambda: len(seen.answers) > 300)
            stage.serving.process.send_signal(signal.SIGTERM)
            assert stage.serving.process.wait(20) == 0
            answered = len(seen.answers)
        until(lambda: caught_up(stage.control.client), 60)
    assert set(seen.statuses()) == {200} and answered > 300
    check_ledger(seen.answers)
    check_sums()


def test_nothing_uncounted_leaves_while_redis_is_away(tmp_path: Path, bundle_folder: Path, redis_server: str) -> None:
    """A Redis of its own is killed and started again on its data."""
    home = tmp_path / "redis-home"
    (server,) = embedded.prepare(home, postgres=False)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(contextlib.ExitStack())
        url = first.enter_context(embedded.running(server, tmp_path / "redis.log"))
        stage = stack.enter_context(staged(tmp_path, url, bundle_folder))
        with asking(stage.serving.port, "reviews", stage.key, clients=4) as seen:
            until(lambda: len(seen.answers) > 200)
            first.close()
            until(lambda: seen.uncounted > 20)
            away = len(seen.answers)
            again = stack.enter_context(embedded.running(server, tmp_path / "redis.log"))
            assert again == url
            until(lambda: [status for _, status in seen.answers[-100:]] == [200] * 100 and len(seen.answers) > away)
        recorder = stack.enter_context(recording(url, tmp_path / "log"))
        until(lambda: caught_up(stage.control.client), 60)
        assert recorder.stop() == 0
    assert set(seen.statuses()) == {200} and not seen.broken
    check_ledger(seen.answers, broken=seen.uncounted)
    check_sums()


def test_serving_without_redis_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path, "redis://127.0.0.1:1/0", wait=False) as running:
        until(lambda: running.answers("/healthz"))
        assert not running.answers("/readyz")
        assert running.stop() == 0
