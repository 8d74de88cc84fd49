"""Periodic work of endpoints."""

from celery import shared_task

from apps.endpoints import publish


@shared_task(name="endpoints.publish_snapshot")
def publish_snapshot() -> None:
    """Mend what is published: after a lost Redis, a missed publication, a key that expired."""
    publish.publish_if_changed()
