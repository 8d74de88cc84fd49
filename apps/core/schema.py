"""The OpenAPI schema of the control API: what every operation shares."""

from functools import cache
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerFieldExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import inline_serializer
from pydantic import TypeAdapter
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
    return type(inline_serializer(f"Paged{row.__name__.removesuffix('Out').removesuffix('Serializer')}", fields))


class Contract(serializers.Field[Any, Any, Any, Any]):
    """A part of a reply whose shape is a type of workers/contracts, as pydantic dumps it."""

    def __init__(self, shape: Any, **options: Any) -> None:
        super().__init__(read_only=True, **options)
        self.shape = shape

    def to_representation(self, value: Any) -> Any:
        return TypeAdapter(self.shape).dump_python(value, mode="json")


class ContractShape(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """How the schema describes it: by the JSON Schema that pydantic makes, its models among the components."""

    target_class = "apps.core.schema.Contract"

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        # As a list's items, a model too is told by its name.
        adapter = TypeAdapter(list[self.target.shape])  # type: ignore[name-defined]
        found = adapter.json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        for name, part in found.get("$defs", {}).items():
            auto_schema.registry.register_on_missing(
                ResolvedComponent(name=name, type=ResolvedComponent.SCHEMA, schema=part, object=name)
            )
        return dict(found["items"])


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
