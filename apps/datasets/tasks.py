"""Periodic work on datasets."""

from celery import shared_task

from apps.datasets import uploads


@shared_task(name="datasets.forget_uploads")
def forget_uploads() -> None:
    """Delete uploads that nobody finished or used in time."""
    uploads.forget_expired()
