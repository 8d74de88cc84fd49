"""Periodic work of training. Beat calls it; see CELERY_BEAT_SCHEDULE."""

import redis
import structlog
from celery import shared_task
from django.db import OperationalError

from apps.training import reaper

log = structlog.get_logger(__name__)


@shared_task(name="training.reap")
def reap() -> None:
    """Start again what nobody works on any more."""
    try:
        reaper.sweep()
    except (redis.RedisError, OperationalError) as error:
        log.warning("reaper_waits", reason=type(error).__name__)
