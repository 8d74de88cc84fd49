"""Periodic work of usage."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from apps.usage.models import DeadLetter, LedgerEntry

# The sums stay; single requests are forgotten.
KEEP_DAYS = 90
_CHUNK = 10_000


@shared_task(name="usage.retention")
def retention() -> int:
    """Forget ledger entries and dead letters older than KEEP_DAYS; the number of entries.

    In chunks, so that no single statement holds locks for long.
    """
    before = timezone.now() - timedelta(days=KEEP_DAYS)
    DeadLetter.objects.filter(created__lt=before).delete()
    forgotten = 0
    while True:
        chunk = LedgerEntry.objects.filter(time__lt=before).values("pk")[:_CHUNK]
        count, _ = LedgerEntry.objects.filter(pk__in=chunk).delete()
        forgotten += count
        if count < _CHUNK:
            return forgotten
