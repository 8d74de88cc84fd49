"""Sessions of browsers."""

from django.conf import settings
from django.contrib.sessions import middleware
from django.http import HttpRequest


class SessionMiddleware(middleware.SessionMiddleware):
    """A request that brings two sessions has none: one of them was planted, by another service on the host perhaps."""

    def process_request(self, request: HttpRequest) -> None:
        """Find the session of a request."""
        sent = [pair.partition("=")[0].strip() for pair in request.headers.get("Cookie", "").split(";")]
        if sent.count(settings.SESSION_COOKIE_NAME) > 1:
            del request.COOKIES[settings.SESSION_COOKIE_NAME]
        super().process_request(request)
