"""Old requests are forgotten, their sums are not."""

import time

import redis
from django.conf import settings

from apps.usage.models import LedgerEntry, MinuteRollup
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
    assert retention() == 1
    assert list(LedgerEntry.objects.values_list("pk", flat=True)) == [new.request_id]
    assert sum(MinuteRollup.objects.values_list("requests", flat=True)) == 2
