"""The tus 1.0.0 protocol at /api/v1/uploads: creation, creation-with-upload, termination, checksum, expiration.

The bytes of a PATCH arrive spooled to disk by the server and are appended in bounded memory. Uploads belong to whoever
began them: to everybody else they do not exist. https://tus.io/protocols/resumable-upload
"""

import base64
import binascii
import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import http_date
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view, parser_classes
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from apps.core.api import exception_handler
from apps.datasets import uploads
from apps.datasets.access import upload_for
from apps.datasets.models import Upload
from apps.projects.access import project_for
from apps.teams.access import team_to_write
from apps.teams.authentication import actor_of
from apps.teams.models import Team, User
from workers.contracts.errors import UserError

VERSION: Final = "1.0.0"
EXTENSIONS: Final = ("creation", "creation-with-upload", "termination", "checksum", "expiration")
CONTENT_TYPE: Final = "application/offset+octet-stream"
_MAX_METADATA: Final = 4096

View = Callable[..., Response]


class PieceParser(BaseParser):
    """Declares the content type of pieces; the views read the stream themselves."""

    media_type = CONTENT_TYPE

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return {}


def _tus(view: View) -> View:
    """Check the protocol's version and name it in every answer, errors too; answer OPTIONS."""

    @wraps(view)
    def checked(request: Request, *args: Any, **kwargs: Any) -> Response:
        try:
            if request.method == "OPTIONS":
                response = Response(status=204)
                response["Tus-Extension"] = ",".join(EXTENSIONS)
                response["Tus-Checksum-Algorithm"] = ",".join(uploads.DIGESTS)
                response["Tus-Max-Size"] = str(settings.SLIPWAY_MAX_UPLOAD_BYTES)
            elif request.headers.get("Tus-Resumable") != VERSION:
                raise UserError("tus_version", version=VERSION)
            else:
                response = view(request, *args, **kwargs)
        except Exception as error:
            response = exception_handler(error, {"request": request})
            if response.status_code == 460:
                response.reason_phrase = "Checksum Mismatch"  # the protocol's own status
        response["Tus-Resumable"] = response["Tus-Version"] = VERSION
        return response

    return checked


_HEADERS = [
    OpenApiParameter("Tus-Resumable", str, OpenApiParameter.HEADER, required=True, enum=[VERSION]),
    OpenApiParameter("Upload-Length", int, OpenApiParameter.HEADER),
    OpenApiParameter("Upload-Metadata", str, OpenApiParameter.HEADER, description="`filename`, `project` or `team`"),
]
_CHECKSUM = OpenApiParameter(
    "Upload-Checksum", str, OpenApiParameter.HEADER, description="`sha1`, `sha256` or `md5` of the piece, then base64"
)
_OFFSET = [_HEADERS[0], OpenApiParameter("Upload-Offset", int, OpenApiParameter.HEADER, required=True), _CHECKSUM]
_BYTES = {CONTENT_TYPE: OpenApiTypes.BINARY}


@extend_schema(
    methods=["POST"],
    parameters=_HEADERS,
    request=_BYTES,
    responses={201: None},
    summary="Begin a resumable upload (tus)",
)
@api_view(["OPTIONS", "POST"])
@parser_classes([PieceParser])
@_tus
def begin(request: Request) -> Response:
    """`Location` is the upload's address; its last part is the id for `POST /datasets`."""
    actor = actor_of(request)
    metadata = _metadata(request.headers.get("Upload-Metadata", ""))
    if "Upload-Length" not in request.headers:
        raise UserError("bad_request", "Upload-Length is missing; deferring it is not supported.")
    upload = uploads.begin_upload(
        actor=actor,
        team=_team(actor, metadata),
        filename=metadata.get("filename", ""),
        size=_number(request, "Upload-Length"),
    )
    if request.content_type == CONTENT_TYPE or upload.size == 0:
        upload = _append(request, upload, 0)
    response = _answer(upload, 201)
    response["Location"] = reverse("datasets-api:upload", [upload.pk], request=request)
    return response


@extend_schema(methods=["HEAD"], parameters=_HEADERS[:1], responses={200: None}, summary="How far an upload is (tus)")
@extend_schema(
    methods=["PATCH"], parameters=_OFFSET, request=_BYTES, responses={204: None}, summary="Add to an upload (tus)"
)
@extend_schema(methods=["DELETE"], parameters=_HEADERS[:1], responses={204: None}, summary="Cancel an upload (tus)")
@api_view(["OPTIONS", "HEAD", "PATCH", "DELETE"])
@parser_classes([PieceParser])
@_tus
def upload(request: Request, upload_id: str) -> Response:
    actor = actor_of(request)
    found = upload_for(actor, upload_id)
    if request.method == "DELETE":
        uploads.cancel_upload(actor=actor, upload=found)
        return Response(status=204)
    uploads.check_time(found)
    if request.method == "HEAD":
        response = _answer(found, 200)
        response["Upload-Length"] = str(found.size)
        response["Cache-Control"] = "no-store"
        return response
    if request.content_type != CONTENT_TYPE:
        raise UserError("unsupported_media_type", f"Pieces are sent as {CONTENT_TYPE}.")
    return _answer(_append(request, found, _number(request, "Upload-Offset")), 204)


def _append(request: Request, upload: Upload, offset: int) -> Upload:
    sent = request.headers.get("Content-Length")
    announced = int(sent) if sent and sent.isascii() and sent.isdigit() else None
    stream: HttpRequest = request._request
    checksum = _checksum(request.headers.get("Upload-Checksum"))
    return uploads.append(upload=upload, offset=offset, stream=stream, announced=announced, checksum=checksum)  # type: ignore[arg-type]


def _checksum(header: str | None) -> uploads.Checksum | None:
    """`sha1 <base64>` as it has to come out. Raises UserError `bad_request`."""
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm not in uploads.DIGESTS:
        raise UserError("bad_request", f"Checksums are made by {', '.join(uploads.DIGESTS)}.")
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise UserError("bad_request", "Upload-Checksum is not base64.") from None
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise UserError("bad_request", f"Upload-Checksum is not as long as {algorithm} makes it.")
    return uploads.Checksum(algorithm, digest)


def _answer(upload: Upload, status: int) -> Response:
    response = Response(status=status)
    response["Upload-Offset"] = str(upload.offset)
    if not upload.finished:
        response["Upload-Expires"] = http_date(upload.expires.timestamp())
    return response


def _number(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UserError("bad_request", f"{header} has to be a whole number.")
    return int(text)


def _metadata(header: str) -> dict[str, str]:
    """`key base64, key base64, …` decoded. Raises UserError `bad_request`."""
    if len(header) > _MAX_METADATA:
        raise UserError("bad_request", "Upload-Metadata is too long.")
    found = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise UserError("bad_request", "Upload-Metadata is not base64.") from None
    return found


def _team(actor: User, metadata: dict[str, str]) -> Team:
    """The team of the project named, the team named, or the actor's first."""
    if metadata.get("project"):
        return project_for(actor, metadata["project"], need="write").team
    return team_to_write(actor, metadata.get("team") or None)
