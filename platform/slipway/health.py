"""Health of the web process, for supervisors and load balancers."""

from collections.abc import Callable

import redis
import structlog
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

log = structlog.get_logger(__name__)


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """200 while the process answers at all."""
    return JsonResponse({"status": "live"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """200 when Postgres and Redis answer, else 503 naming the one that does not."""
    checks = {"database": _answers(_database), "redis": _answers(_redis)}
    good = all(checks.values())
    return JsonResponse({"status": "ready" if good else "not ready", **checks}, status=200 if good else 503)


def _answers(probe: Callable[[], None]) -> bool:
    try:
        probe()
    except Exception:
        # The reason is for the log, not for whoever asks.
        log.warning("not_ready", probe=probe.__name__, exc_info=True)
        return False
    return True


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _redis() -> None:
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
        client.ping()
