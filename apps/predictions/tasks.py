"""Periodic work on batch predictions."""

from celery import shared_task

from apps.core.steady import seen_twice
from apps.predictions import actions


@shared_task(name="predictions.retention")
@seen_twice
def retention() -> None:
    """Delete files and answers that are kept no longer."""
    actions.forget_old()
