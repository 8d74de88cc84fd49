"""Parsing of request bodies for the control API."""

from collections.abc import Mapping
from typing import IO, Any, Final

import orjson
from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, FormParser, MultiPartParser
from rest_framework.serializers import Serializer

from workers.contracts import nul
from workers.contracts.errors import UserError


class JsonParser(BaseParser):
    """JSON within bounds: no NaN, no lone surrogates, no NUL, no endless nesting, no more bytes than a form has."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The body. Raises ParseError, UserError `payload_too_large`, `unsupported_media_type`."""
        if (parser_context or {})["request"].headers.get("Content-Encoding", "identity") != "identity":
            raise UserError("unsupported_media_type", "Bodies are taken as they are, without `Content-Encoding`.")
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raw = stream.read(most + 1)
        if len(raw) > most:
            raise UserError("payload_too_large", limit_bytes=most)
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ParseError(str(error)) from None
        if nul.is_in(raw):
            raise ParseError("NUL characters are not accepted")
        return found


# Of addresses that take a file; whoever names an upload instead may send the same fields without multipart.
FILE_PARSERS: Final = [JsonParser, MultiPartParser, FormParser]


def file_request(fields: type[Serializer[Any]]) -> dict[str, type[Serializer[Any]]]:
    """How the schema describes the body of such an address."""
    return {parser.media_type: fields for parser in (MultiPartParser, FormParser, JsonParser)}
