"""Errors outside of DRF: the same family becomes JSON for programs, a fragment for htmx, a page for people."""

import sys
from urllib.parse import urlsplit

import structlog
from django.contrib import messages
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template import loader
from django.utils.http import url_has_allowed_host_and_scheme

from apps.core import request_id
from apps.core.api import as_slipway_error
from apps.core.body_limit import REFUSED
from apps.core.middleware import Middleware
from workers.contracts.errors import SlipwayError, UserError, body

log = structlog.get_logger(__name__)


def render_error(request: HttpRequest, error: SlipwayError | None) -> HttpResponse:
    """The response for an error; None stands for a bug, of which nothing is told."""
    known = error or SlipwayError("internal_error")
    if request.path.startswith("/api/"):
        response: HttpResponse = JsonResponse(body(known, request_id.current()), status=known.status)
    else:
        response = HttpResponse(_html(request, known), status=known.status)
    if known.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if "retry_after" in known.params:
        response.headers["Retry-After"] = str(known.params["retry_after"])
    return response


def _html(request: HttpRequest, error: SlipwayError) -> str:
    context = {
        "error": error,
        "status": error.status,
        "request_id": request_id.current(),
        "back": _asked_from(request),
    }
    names = ["errors/_fragment.html"] if _is_fragment(request) else [f"errors/{error.status}.html", "errors/error.html"]
    try:
        return str(loader.select_template(names).render(context, request))
    except Exception:
        # An error page that fails (the database is down, the request is half made) must not hide the error.
        log.exception("error_page_failed", status=error.status)
        return str(loader.get_template("core/plain_error.html").render(context))


class ErrorMiddleware(Middleware):
    """Last of the middlewares: answers for what page views raise. DRF views answer for themselves."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """A response for errors of the catalogue; None leaves the rest to Django's handlers below."""
        if not isinstance(error, SlipwayError):
            return None
        return _told_where_asked(request, error) or render_error(request, error)


def _told_where_asked(request: HttpRequest, error: SlipwayError) -> HttpResponse | None:
    """Back to the page whose button was pressed at a bad moment, with a word on why it did nothing."""
    back = _asked_from(request)
    if request.method != "POST" or error.status != 409 or not back or _is_fragment(request):
        return None
    messages.error(request, f"{error.message} {error.hint}".strip())
    response = HttpResponse(status=303)
    response["Location"] = back
    return response


def _asked_from(request: HttpRequest) -> str:
    """The page of ours, another than this, that led here."""
    page = request.headers.get("Referer", "")
    try:
        ours = url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure())
    except DisallowedHost:
        return ""
    return page if ours and not request.path.startswith("/api/") and urlsplit(page).path != request.path else ""


def _is_fragment(request: HttpRequest) -> bool:
    # Without boost: a fragment is swapped into the page that asked, everything else replaces the page.
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-Boosted") != "true"


class GateMiddleware(Middleware):
    """Outer middleware: refuses what nothing behind it should have to look at.

    What apps.core.body_limit says where it cut the body off (413, 503, 507); 404 and 400 for a NUL in the path or the
    query, which Postgres cannot even compare with; 400 for a host that is not ours.
    """

    def before(self, request: HttpRequest) -> HttpResponseBase | None:
        """The refusal, if it is one."""
        refusal = _refusal(request)
        if refusal is not None:
            # CommonMiddleware, which would say it, stands further in.
            refusal.headers["Content-Length"] = str(len(refusal.content))
        return refusal


def _refusal(request: HttpRequest) -> HttpResponse | None:
    refused = getattr(request, "scope", {}).get(REFUSED)
    if refused is not None:
        response = render_error(request, refused)
        # What the client still sends would be taken for the next request: hang up.
        response.headers["Connection"] = "close"
        return response
    if "\x00" in request.path:
        return render_error(request, UserError("not_found"))
    if "%00" in request.META.get("QUERY_STRING", "") or not _is_for_us(request):
        return render_error(request, UserError("bad_request"))
    return None


def _is_for_us(request: HttpRequest) -> bool:
    """Whether it names a host of ours. Static files and health are answered before Django would ask."""
    try:
        request.get_host()
    except DisallowedHost:
        return False
    return True


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler400: malformed requests, refused hosts, bodies over the limit."""
    if isinstance(exception, RequestDataTooBig):
        return render_error(request, UserError("payload_too_large"))
    return render_error(request, UserError("bad_request"))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler403."""
    return render_error(request, UserError("not_allowed"))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """handler404. The same for what does not exist and for what is not yours."""
    return render_error(request, UserError("not_found"))


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """handler429, of allauth: its bounds are by the minute."""
    return render_error(request, UserError("rate_limited", retry_after=60))


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: whatever was not foreseen, unless it is the database that is away."""
    error = sys.exc_info()[1]
    return render_error(request, as_slipway_error(error) if isinstance(error, Exception) else None)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """CSRF_FAILURE_VIEW."""
    log.warning("csrf_failed", reason=reason)
    return render_error(request, UserError("csrf_failed"))
