"""`manage.py record`: the recorder, until SIGTERM or SIGINT."""

import signal
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand

from apps.usage.recorder import Recorder


class Command(BaseCommand):
    help = "Apply job events, usage records and feedback from Redis to the database, until stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=10, socket_connect_timeout=5)
        recorder = Recorder(client)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: recorder.stop())
        recorder.run()
