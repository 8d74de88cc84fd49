"""Any process may be killed at any moment: what a client received is counted once. Twenty kills: benchmarks."""

import random
from pathlib import Path

import pytest

from tests.serving.clients import asking
from tests.serving.conftest import staged
from tests.serving.killing import Killer, all_recorded, result
from tests.serving.recording import recording
from tests.serving.running import own_server
from tests.usage.checkers import check_ledger, check_sums

pytestmark = pytest.mark.django_db(transaction=True)


def test_each_process_is_killed_under_load(tmp_path: Path, bundle_folder: Path) -> None:
    with (
        own_server(tmp_path / "redis-home", "redis") as own_redis,
        staged(tmp_path, own_redis.url, bundle_folder) as stage,
        recording(own_redis.url, tmp_path / "log") as recorder,
    ):
        with asking(stage.serving.port, "reviews", stage.key) as seen:
            done = list(Killer(stage, recorder, {"redis": own_redis}, seen, random.Random(3)).kills(3))
        all_recorded(stage)
    assert {name for kill in done for name in kill.killed} == {"serving", "recorder", "redis"}
    assert result(seen).exact and result(seen).received > 400 and not seen.wrong
    check_ledger(seen.answers, broken=seen.broken + seen.uncounted)
    check_sums()
