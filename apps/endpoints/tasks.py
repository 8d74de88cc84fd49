"""Periodic work of endpoints."""

from celery import shared_task

from apps.endpoints import publish


@shared_task(name="endpoints.publish_snapshot")
def publish_snapshot() -> None:
    """Publish again: a Redis that lost its data, a missed publication and expired keys mend within seconds."""
    publish.publish_if_changed()
