"""Periodic work of training. Beat calls it; see CELERY_BEAT_SCHEDULE."""

import redis
import structlog
from celery import shared_task

from apps.training import reaper

log = structlog.get_logger(__name__)


@shared_task(name="training.reap")
def reap() -> None:
    """Start again what nobody works on any more."""
    try:
        reaper.sweep()
    except redis.RedisError:
        log.warning("reaper_waits_for_redis")
