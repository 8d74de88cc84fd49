"""Periodic work on datasets."""

from celery import shared_task

from apps.core.artifacts import storage
from apps.core.steady import seen_twice
from apps.datasets import fetching, trash, uploads


@shared_task(name="datasets.forget_uploads")
def forget_uploads() -> None:
    """Delete uploads that nobody finished or used in time, and what killed processes left of others.

    Those that were fetched are finished and counted before.
    """
    fetching.look_at_all()
    uploads.count_left_out()
    uploads.forget_expired()
    uploads.forget_leftovers()


@shared_task(name="datasets.remove_trashed")
@seen_twice
def remove_trashed() -> None:
    """Remove what has been in the trash for 30 days."""
    trash.remove_trashed()


@shared_task(name="datasets.tidy_store")
def tidy_store() -> None:
    """Remove what killed processes have left half written in the store."""
    storage().tidy()
