"""The request id: in every answer, every log line, every audit entry and every error body."""

import re
import secrets
from contextvars import ContextVar

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from apps.core.middleware import Middleware

_current: ContextVar[str] = ContextVar("request_id", default="")
_ACCEPTED = re.compile(r"[A-Za-z0-9-]{8,64}\Z")


def current() -> str:
    """The id of the request being answered; empty outside of one."""
    return _current.get()


def begin(sent: str | None) -> str:
    """Start a request: the client's id where it is harmless, else a new one."""
    request_id = sent if sent and _ACCEPTED.match(sent) else secrets.token_hex(12)
    _current.set(request_id)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


class RequestIdMiddleware(Middleware):
    """Outermost middleware: takes or makes the id and sends it back as X-Request-Id."""

    def before(self, request: HttpRequest) -> None:
        """The request begins."""
        begin(request.headers.get("X-Request-Id"))

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The answer with its id."""
        response.headers["X-Request-Id"] = current()
        return response
