"""Periodic work of usage."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from apps.usage.models import LedgerEntry


@shared_task(name="usage.retention")
def retention() -> None:
    """Forget ledger entries beyond the retention time; the sums per minute stay."""
    horizon = timezone.now() - timedelta(days=settings.SLIPWAY_LEDGER_DAYS)
    LedgerEntry.objects.filter(time__lt=horizon).delete()
