"""Periodic work of usage."""

from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from apps.core.steady import seen_twice
from apps.endpoints.status import serving_processes
from apps.usage import export, gateway, quota
from apps.usage.models import DeadLetter, GatewayCount, LedgerEntry, LedgerHour

_CHUNK = 10_000


@shared_task(name="usage.count_gateways")
def count_gateways() -> None:
    """Remember what the serving processes say that they have counted."""
    gateway.note_told(serving_processes())


@shared_task(name="usage.export")
def export_hours() -> int:
    """Write the ledger of every hour that is over to storage; how many files."""
    return export.export_hours()


@shared_task(name="usage.warn")
def warn() -> int:
    """Warn the teams that have used most of their month's requests; how many warnings."""
    return quota.warn()


@shared_task(name="usage.retention")
@seen_twice
def retention() -> int:
    """Forget ledger entries, and what belongs to them, older than SLIPWAY_LEDGER_DAYS; the number of entries.

    In chunks, so that no single statement holds locks for long. The files of exported hours stay.
    """
    before = timezone.now() - timedelta(days=settings.SLIPWAY_LEDGER_DAYS)
    _forget(DeadLetter.objects.filter(created__lt=before))
    _forget(GatewayCount.objects.filter(minute__lt=before))
    _forget(LedgerHour.objects.filter(hour__lt=before))
    return _forget(LedgerEntry.objects.filter(time__lt=before))


def _forget(rows: QuerySet[Any]) -> int:
    forgotten = 0
    while True:
        count, _ = rows.model._default_manager.filter(pk__in=rows.values("pk")[:_CHUNK]).delete()
        forgotten += count
        if count < _CHUNK:
            return forgotten
