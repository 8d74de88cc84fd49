"""Parsing of request bodies for the control API."""

from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from workers.contracts.errors import UserError


class JsonParser(BaseParser):
    """JSON within bounds: no NaN, no lone surrogates, no NUL, no endless nesting, no more bytes than a form has."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The body. Raises ParseError, UserError `payload_too_large`."""
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raw = stream.read(most + 1)
        if len(raw) > most:
            raise UserError("payload_too_large", limit_bytes=most)
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ParseError(str(error)) from None
        # Postgres stores any character but this one.
        if b"\\u0000" in raw and "\x00" in _texts(found):
            raise ParseError("NUL characters are not accepted")
        return found


def _texts(found: Any) -> str:
    """All strings of a JSON value, joined."""
    waiting, texts = [found], []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
    return "\n".join(texts)
