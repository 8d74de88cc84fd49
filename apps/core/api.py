"""The control API's edges: one error body, one way to page, one way to validate."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError, models
from django.http import Http404
from redis.exceptions import RedisError
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import request_id
from apps.core.body_limit import limit_for
from workers.contracts.errors import SlipwayError, UserError, body

log = structlog.get_logger(__name__)

PAGE_SIZE = 50


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's handler: any exception becomes the one JSON body."""
    known = as_slipway_error(error)
    if known is None:
        log.exception("unhandled", path=context["request"].path)
    response = Response(body(known, request_id.current()), status=known.status if known else 500)
    response.exception = True
    if known and known.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if known and "retry_after" in known.params:
        response["Retry-After"] = str(known.params["retry_after"])
    return response


def as_slipway_error(error: Exception) -> SlipwayError | None:
    """Translate what Django and DRF raise; None stands for a bug."""
    if isinstance(error, SlipwayError):
        return error
    if isinstance(error, exceptions.ValidationError):
        return UserError("invalid", fields=_fields(error.detail))
    if isinstance(error, exceptions.Throttled):
        return UserError("rate_limited", retry_after=max(1, int(getattr(error, "wait", None) or 1)))
    if isinstance(error, OperationalError | RedisError):
        return SlipwayError("unavailable", retry_after=5)
    if isinstance(error, exceptions.ParseError) and str(error.detail).startswith("Multipart"):
        return UserError("bad_request", "The multipart body cannot be parsed.")
    for kind, code in _CODES:
        if isinstance(error, kind):
            return UserError(code)
    if isinstance(error, exceptions.APIException) and error.status_code < 500:
        return UserError("bad_request", str(error.detail))
    return None


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ParseError, "malformed_json"),
    (exceptions.NotAuthenticated, "not_authenticated"),
    (exceptions.AuthenticationFailed, "not_authenticated"),
    (exceptions.PermissionDenied, "not_allowed"),
    (PermissionDenied, "not_allowed"),
    (exceptions.NotFound, "not_found"),
    (Http404, "not_found"),
    (exceptions.MethodNotAllowed, "method_not_allowed"),
    (exceptions.UnsupportedMediaType, "unsupported_media_type"),
    (RequestDataTooBig, "payload_too_large"),
    (SuspiciousOperation, "bad_request"),
)


def _fields(detail: Any, path: str = "") -> list[dict[str, str]]:
    if isinstance(detail, dict):
        return [f for name, inner in detail.items() for f in _fields(inner, f"{path}.{name}" if path else str(name))]
    if isinstance(detail, list):
        return [
            f
            for index, inner in enumerate(detail)
            for f in _fields(inner, f"{path}.{index}" if isinstance(inner, dict) else path)
        ]
    return [{"field": path.removesuffix(".non_field_errors"), "message": str(detail)}]


def read(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The validated body of a request. Raises ValidationError; unknown fields are refused."""
    if not isinstance(request.data, Mapping):
        raise UserError("invalid", "The body is to be a JSON object.")
    form = serializer(data=request.data)
    unknown = _unknown(form, request.data)
    if unknown:
        raise UserError(
            "invalid",
            fields=[{"field": name, "message": "unknown field"} for name in unknown],
        )
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


def _unknown(form: serializers.Serializer[Any], data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The names of fields that the serializer does not have, those of its parts as `part.name` or `part.0.name`."""
    names = [f"{prefix}{name}" for name in sorted(set(data) - set(form.fields), key=str)]
    for name, field in form.fields.items():
        found = data.get(name)
        if isinstance(field, serializers.Serializer) and isinstance(found, Mapping):
            names += _unknown(field, found, f"{prefix}{name}.")
        elif isinstance(field, serializers.ListSerializer) and isinstance(found, list):
            for index, part in enumerate(found):
                if isinstance(part, Mapping) and isinstance(field.child, serializers.Serializer):
                    names += _unknown(field.child, part, f"{prefix}{name}.{index}.")
    return names


def refuse_oversize(request: Request) -> None:
    """Before the body is parsed. The ASGI server has refused it already; other servers have not. Raises UserError."""
    length = request.headers.get("Content-Length", "")
    limit = limit_for(request.path, request.content_type)
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise UserError("upload_too_large", limit_bytes=limit)


def read_query(request: Request, allowed: set[str]) -> dict[str, str]:
    """The query's parameters. Raises UserError `unknown_parameter` for any that is not allowed or occurs twice."""
    for name in request.query_params:
        if name not in allowed:
            raise _wrong_parameter(name, "is not known here")
        if len(request.query_params.getlist(name)) > 1:
            raise _wrong_parameter(name, "is given more than once")
    return {name: request.query_params[name] for name in request.query_params}


def _wrong_parameter(name: str, why: str) -> UserError:
    fields = [{"field": name[:60], "message": why}]
    return UserError("unknown_parameter", f"The parameter {name[:60]!r} {why}.", fields=fields)


def page(
    request: Request,
    rows: models.QuerySet[Any],
    render: Callable[[Any], dict[str, Any]],
) -> Response:
    """One page of rows: {"results", "next"}. The query's `page` counts from 1."""
    number = positive_int(request.query_params.get("page"), "page")
    start = (number - 1) * PAGE_SIZE
    found = list(rows[start : start + PAGE_SIZE + 1])
    following = None
    if len(found) > PAGE_SIZE:
        following = page_address(request, number + 1)
    return Response({"results": [render(row) for row in found[:PAGE_SIZE]], "next": following})


def page_address(request: Request, number: int) -> str:
    """The address of another page of the same list."""
    query = request.query_params.copy()
    query["page"] = str(number)
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def positive_int(text: str | None, name: str, default: int = 1, most: int = 1_000_000) -> int:
    """A whole number in [1, most] from a query. Raises UserError `invalid`."""
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
        raise UserError(
            "invalid",
            fields=[{"field": name, "message": f"a whole number from 1 to {most}"}],
        )
    return int(text)
