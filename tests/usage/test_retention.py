"""Old requests are forgotten, their sums are not."""

import time

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.usage.models import GatewayCount, LedgerEntry, MinuteRollup
from apps.usage.recorder import Recorder
from apps.usage.tasks import retention
from tests.cast import Cast
from tests.usage.records import record, send


def test_entries_older_than_the_limit_go(cast: Cast, redis_client: redis.Redis) -> None:
    old, new = record(cast.ours), record(cast.ours)
    send(redis_client, old, new)
    Recorder(redis_client).step(block_ms=1)
    entry = LedgerEntry.objects.get(pk=old.request_id)
    entry.time = entry.time.fromtimestamp(time.time() - (settings.SLIPWAY_LEDGER_DAYS + 1) * 86_400, entry.time.tzinfo)
    entry.save()
    assert retention() is None, "the clock is to be seen twice"
    assert retention() == 1
    assert list(LedgerEntry.objects.values_list("pk", flat=True)) == [new.request_id]
    assert sum(MinuteRollup.objects.values_list("requests", flat=True)) == 2


@pytest.mark.django_db
def test_what_is_old_and_what_is_a_projects_is_found_without_reading_all() -> None:
    day = timezone.now()
    looks = [
        LedgerEntry.objects.filter(time__lt=day),
        GatewayCount.objects.filter(minute__lt=day),
        MinuteRollup.objects.filter(project_id="prj_a"),
    ]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # of an empty table Postgres would read all
    assert [look.explain() for look in looks if "Seq Scan" in look.explain()] == []
