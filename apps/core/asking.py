"""How programs may ask the control API: answers are what they are, whatever is accepted; HEAD and OPTIONS work."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.metadata import BaseMetadata
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from apps.core.middleware import Middleware


class OneAnswer(DefaultContentNegotiation):
    """Every address has one form of answer: a client that accepts only `text/csv` gets the CSV, and errors as JSON."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The first renderer, which is the only one."""
        return renderers[0], renderers[0].media_type


class NoMetadata(BaseMetadata):
    """OPTIONS is answered by the header `Allow` alone."""

    def determine_metadata(self, request: Request, view: Any) -> None:
        """Nothing: the schema tells the rest."""


class HeadMiddleware(Middleware):
    """HEAD at the control API is GET without the body. Uploads have a HEAD of their own."""

    def before(self, request: HttpRequest) -> None:
        """Views see a GET."""
        if request.method == "HEAD" and _is_plain(request.path):
            request.method = "GET"

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """What would be streamed is not even begun: files may be large, and progress does not end."""
        if request.META["REQUEST_METHOD"] != "HEAD" or not response.streaming:
            return response
        # Not closed, which would tell Django that the request has ended: what was never begun holds nothing.
        return HttpResponse(status=response.status_code, headers=dict(response.items()))


def _is_plain(path: str) -> bool:
    return path.startswith("/api/v1/") and not path.startswith("/api/v1/uploads/")
