"""What our middlewares share: one class for sync and async stacks."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class Middleware:
    """`before` may answer a request itself, `after` sees every answer. Both run where they are called: no threads."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(cast(Any, self))

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request, sync or async as the server asks."""
        if self.is_async:
            return self._answer(request)
        response = self.before(request) or self.get_response(request)
        return self.after(request, cast(HttpResponseBase, response))

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        response = self.before(request) or await cast(Awaitable[HttpResponseBase], self.get_response(request))
        return self.after(request, response)

    def before(self, request: HttpRequest) -> HttpResponseBase | None:
        """An answer; None passes the request on."""
        return None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The answer, with what is to be added to it."""
        return response
