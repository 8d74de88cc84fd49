"""`manage.py record`: the recorder process."""

import signal
from typing import Any

import redis
import structlog
from django.conf import settings
from django.core.management.base import BaseCommand

from apps.usage.recorder import BLOCK_MS, Recorder

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Applies job events, usage records and feedback from Redis to the database until it is told to stop."
    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's own declaration

    def handle(self, *args: Any, **options: Any) -> None:
        client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=BLOCK_MS / 1000 + 4, socket_connect_timeout=2, health_check_interval=30
        )
        recorder = Recorder(client)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: recorder.stop())
        log.info("recording")
        recorder.run()
        log.info("recording_stopped")
