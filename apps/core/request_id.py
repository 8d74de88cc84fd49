"""The request id: in every answer, every log line, every audit entry and every error body."""

import re
import secrets
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, cast

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

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


class RequestIdMiddleware:
    """Outermost middleware: takes or makes the id and sends it back as X-Request-Id. Serves sync and async stacks."""

    sync_capable = True
    async_capable = True

    def __init__(
        self,
        get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
    ) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(cast(Any, self))

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._answer_async(request)
        request_id = begin(request.headers.get("X-Request-Id"))
        response = self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        response.headers["X-Request-Id"] = request_id
        return response

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        request_id = begin(request.headers.get("X-Request-Id"))
        response = self.get_response(request)
        assert not isinstance(response, HttpResponseBase)
        answered = await response
        answered.headers["X-Request-Id"] = request_id
        return answered
