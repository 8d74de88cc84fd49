"""The OpenAPI schema of the control API: what every operation shares."""

from functools import cache
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers


def paged(row: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    """The reply of `apps.core.api.page`: {"results": [row, …], "next": address or null}."""
    return _paged(row)()


@cache
def _paged(row: type[serializers.Serializer[Any]]) -> type[serializers.Serializer[Any]]:
    fields: dict[str, Any] = {
        "results": row(many=True),
        "next": serializers.URLField(allow_null=True, help_text="Address of the following page."),
    }
    return type(inline_serializer(f"Paged{row.__name__.removesuffix('Out')}", fields))


ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint", "params", "request_id"],
            "properties": {
                "code": {"type": "string", "example": "not_found"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "params": {"type": "object", "additionalProperties": True},
                "request_id": {"type": "string"},
            },
        }
    },
}


def add_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular hook: every operation may answer with the one error body."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR
    reply = {
        "description": "An error of the catalogue.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"].setdefault("default", reply)
    return result


class Schema(AutoSchema):  # type: ignore[no-untyped-call]
    """Names operations: a GET that answers with `paged` is a list."""

    def get_operation_id(self) -> str:
        found = str(super().get_operation_id())
        listed = type(self.get_response_serializers()).__name__.startswith("Paged")
        return f"{found.removesuffix('_retrieve')}_list" if listed else found


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema names bearer tokens."""

    target_class = "apps.teams.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A personal token, `swt_…`."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema names the browser's session."""

    target_class = "apps.teams.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        cookie = str(settings.SESSION_COOKIE_NAME)
        return {"type": "apiKey", "in": "cookie", "name": cookie, "description": "Writes need X-CSRFToken too."}
