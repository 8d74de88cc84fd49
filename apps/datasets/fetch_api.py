"""Control API: files that a runner fetches from an address before anything is imported, as the page "Add data" does."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.datasets import fetching
from apps.datasets.access import upload_for
from apps.datasets.models import Upload
from apps.projects.access import project_for
from apps.teams.authentication import actor_of
from workers.contracts.errors import UserError
from workers.fetch.policy import MAX_URL


class FetchIn(serializers.Serializer[Any]):
    project = serializers.CharField(max_length=32)
    url = serializers.CharField(max_length=MAX_URL, help_text="An http(s) or s3 address.")


class FetchOut(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="The upload: once it is done it has a preview, and datasets are made of it.")
    filename = serializers.CharField()
    state = serializers.ChoiceField(choices=["waiting", "running", "done", "failed"])
    read = serializers.IntegerField(help_text="Bytes that have come.")
    size = serializers.IntegerField(allow_null=True, help_text="Of how many, where that is known.")
    error = serializers.DictField(allow_null=True)


@extend_schema(
    operation_id="uploads_fetch_begin",
    request=FetchIn,
    responses={202: FetchOut},
    summary="Fetch a file from an address, to look at it first",
)
@api_view(["POST"])
def begin(request: Request) -> Response:
    fields = api.read(FetchIn, request)
    project = project_for(actor_of(request), fields["project"], need="write")
    upload = fetching.fetch_upload(actor=actor_of(request), team=project.team, url=fields["url"])
    return Response(_shown(upload, "waiting"), status=202)


@extend_schema(methods=["GET"], responses=FetchOut, summary="How far the fetching of a file is")
@extend_schema(methods=["POST"], request=None, responses={202: FetchOut}, summary="Fetch once more what has failed")
@api_view(["GET", "POST"])
def fetch(request: Request, upload_id: str) -> Response:
    upload = upload_for(actor_of(request), upload_id)
    if not upload.url:
        raise UserError("not_found")
    found = fetching.look(upload)
    if request.method == "POST" and found:
        fetching.send(upload)
        return Response(_shown(upload, "waiting"), status=202)
    if found is None:
        return Response(_shown(upload, "done", read=upload.size, size=upload.size))
    error = found.error.model_dump() if found.error else None
    return Response(_shown(upload, found.state, read=found.read, size=found.size, error=error))


def _shown(upload: Upload, state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": upload.pk,
        "filename": upload.filename,
        "state": state,
        "read": 0,
        "size": None,
        "error": None,
        **more,
    }
