"""Periodic work on batch predictions."""

from celery import shared_task

from apps.predictions import actions


@shared_task(name="predictions.retention")
def retention() -> None:
    """Delete files and answers that are kept no longer."""
    actions.forget_old()
