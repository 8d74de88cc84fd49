"""Processes are killed under load. Every answer that a client received is in the ledger exactly once.

U1: received ⊆ ledger, with its status. U2: ledger − received ⊆ broken connections. U3: the sums equal the ledger.
"""

import signal
from pathlib import Path

import pytest
from django.db import connection

from apps.usage.models import LedgerEntry
from tests.serving.clients import asking
from tests.serving.conftest import Stage, staged
from tests.serving.recording import caught_up, recording
from tests.serving.running import serving, until
from tests.usage.checkers import check_ledger, check_sums

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_the_database_hangs_up_on_the_recorder(own_stage: Stage, redis_server: str, tmp_path: Path) -> None:
    """Whatever it was doing. Who asks for predictions notices nothing."""
    ours = _backends()
    with recording(redis_server, tmp_path / "recorder.log") as recorder:
        with asking(own_stage.serving.port, "reviews", own_stage.key) as seen:
            for _ in range(3):
                count = LedgerEntry.objects.count()
                until(lambda count=count: LedgerEntry.objects.count() > count)
                its_own = _backends() - ours
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [[*its_own]])
                    assert its_own
        until(lambda: caught_up(own_stage.control.client), 60)
        assert recorder.stop() == 0
    assert set(seen.statuses()) == {200} and not seen.broken and not seen.uncounted
    check_ledger(seen.answers)
    check_sums()


def _backends() -> set[int]:
    """The processes of Postgres that serve this database's connections."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        return {pid for (pid,) in cursor.fetchall()}


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


def test_serving_without_redis_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path, "redis://127.0.0.1:1/0", wait=False) as running:
        until(lambda: running.answers("/healthz"))
        assert not running.answers("/readyz")
        assert running.stop() == 0
