"""Control API: datasets, their rows and what was rejected."""

from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view, parser_classes
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import api
from apps.core.downloads import download, download_pieces
from apps.core.parsers import FILE_PARSERS, file_request
from apps.core.schema import paged
from apps.datasets import actions, browse, conditions, differences, edits, sources
from apps.datasets import serializers as s
from apps.datasets.access import any_dataset_for, dataset_for, upload_for, version_for
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.datasets.options import NAMES, file_options, taken
from apps.projects.access import project_for
from apps.projects.models import Project
from apps.teams.authentication import actor_of
from workers.contracts.errors import UserError
from workers.contracts.job import SPLITS
from workers.ingest.differences import CHANGES

VERSION = OpenApiParameter("version", int, description="Default: the newest.")
_EXPORTED = {
    "csv": "text/csv; charset=utf-8",
    "zip": "application/zip",
    "parquet": "application/vnd.apache.parquet",
}


@extend_schema(
    methods=["GET"],
    parameters=[
        OpenApiParameter("project"),
        OpenApiParameter("trash", enum=["true"], description="Those in the trash instead."),
        OpenApiParameter("page", int),
    ],
    responses=paged(s.DatasetRowOut),
    summary="Datasets, newest first",
)
@extend_schema(
    methods=["POST"],
    request=file_request(s.DatasetIn),
    responses={202: s.NewVersionOut},
    summary="Create a dataset from files, finished uploads or an address",
)
@api_view(["GET", "POST"])
@parser_classes(FILE_PARSERS)
def datasets(request: Request) -> Response:
    actor = actor_of(request)
    if request.method == "POST":
        return _create(request)
    query = api.read_query(request, {"project", "trash", "page"})
    chosen = Dataset.every.in_trash() if query.get("trash") == "true" else Dataset.objects.all()
    rows = chosen.visible_to(actor).with_versions()
    if "project" in query:
        rows = rows.filter(project=project_for(actor, query["project"]))
    return api.page(request, rows, lambda row: _row(max(row.versions.all(), key=lambda version: version.number)))


def _create(request: Request) -> Response:
    api.refuse_oversize(request)
    actor = actor_of(request)
    fields = api.read(s.DatasetIn, request)
    project = project_for(actor, fields.pop("project"), need="write")
    # What is wrong with the rest is said before a large file is stored.
    actions.check_new(project, fields["kind"], fields.get("mapping", {}))
    options = taken(fields)
    found = _sources(request, project, fields)
    return _accepted(actions.create_dataset(actor=actor, project=project, sources=found, options=options, **fields))


def _sources(request: Request, project: Project, fields: dict[str, Any]) -> list[sources.Source]:
    """Take `file`, `upload` or `url` out of the fields; files are stored."""
    actor = actor_of(request)
    files, ids, url = fields.pop("file", []), fields.pop("upload", []), fields.pop("url", "")
    if url:
        return sources.of_url(project.team, url)
    uploads = [_store(request, project, file) for file in files] or [upload_for(actor, one) for one in ids]
    return sources.of_uploads(actor, project.team, uploads)


def _store(request: Request, project: Project, file: Any) -> Upload:
    return actions.store_upload(
        actor=actor_of(request), team=project.team, filename=file.name, stream=file, size=file.size
    )


@extend_schema(
    methods=["GET"], parameters=[VERSION], responses=s.DatasetOut, summary="A dataset, in its newest or another version"
)
@extend_schema(methods=["PATCH"], request=s.DatasetNameIn, responses=s.DatasetOut, summary="Rename a dataset")
@extend_schema(methods=["DELETE"], responses={204: None}, summary="Put a dataset into the trash, for 30 days")
@api_view(["GET", "PATCH", "DELETE"])
def dataset(request: Request, dataset_id: str) -> Response:
    actor = actor_of(request)
    if request.method == "PATCH":
        found = dataset_for(actor, dataset_id, need="write")
        actions.rename_dataset(actor=actor, dataset=found, name=api.read(s.DatasetNameIn, request)["name"])
        return Response(_detail(found.latest))
    if request.method == "DELETE":
        actions.trash_dataset(actor=actor, dataset=any_dataset_for(actor, dataset_id, need="write"))
        return Response(status=204)
    query = api.read_query(request, {"version"})
    return Response(_detail(version_for(actor_of(request), dataset_id, query.get("version"))))


@extend_schema(request=None, responses=s.DatasetOut, summary="Take a dataset out of the trash")
@api_view(["POST"])
def untrash(request: Request, dataset_id: str) -> Response:
    actor = actor_of(request)
    found = any_dataset_for(actor, dataset_id, need="write")
    return Response(_detail(actions.untrash_dataset(actor=actor, dataset=found).latest))


@extend_schema(request=s.VersionIn, responses={201: s.NewVersionOut}, summary="Make an earlier version the newest")
@api_view(["POST"])
def restore(request: Request, dataset_id: str) -> Response:
    actor = actor_of(request)
    dataset_for(actor, dataset_id, need="write")
    number = api.read(s.VersionIn, request)["version"]
    version = actions.restore_version(actor=actor, version=version_for(actor, dataset_id, str(number)))
    return Response(_new_version(version), status=201)


@extend_schema(
    parameters=[
        OpenApiParameter("from", int, required=True),
        OpenApiParameter("to", int, description="Default: the newest."),
        OpenApiParameter("change", enum=list(CHANGES), description="Default: the first kind that there is."),
        OpenApiParameter("page", int),
    ],
    responses=s.DiffOut,
    summary="What changed from one version to another",
)
@api_view(["GET"])
def diff(request: Request, dataset_id: str) -> Response:
    query = api.read_query(request, {"from", "to", "change", "page"})
    actor = actor_of(request)
    first, second = (version_for(actor, dataset_id, query.get(name)) for name in ("from", "to"))
    found = differences.changes(first, second, query.get("change", ""), api.positive_int(query.get("page"), "page"))
    following = api.page_address(request, found.page + 1) if found.page < found.pages else None
    numbers = {"from": first.number, "to": second.number}
    return Response(
        {**numbers, "counts": found.counts, "change": found.change, "results": found.rows, "next": following}
    )


@extend_schema(
    methods=["GET"],
    parameters=[VERSION, OpenApiParameter("code", required=True), OpenApiParameter("repair")],
    responses=s.RepairPreviewOut,
    summary="What a repair would do",
)
@extend_schema(
    methods=["POST"],
    request=s.RepairIn,
    responses={202: s.NewVersionOut},
    summary="Repair what was found: a new version",
)
@api_view(["GET", "POST"])
def repair(request: Request, dataset_id: str) -> Response:
    actor = actor_of(request)
    if request.method == "POST":
        dataset = dataset_for(actor, dataset_id, need="write")
        asked = api.read(s.RepairIn, request)
        found = actions.repair_version(actor=actor, dataset=dataset, code=asked["code"], name=asked["repair"])
        return _accepted(found)
    query = api.read_query(request, {"version", "code", "repair"})
    version = version_for(actor, dataset_id, query.get("version"))
    chosen = edits.repair_for(version, query.get("code", ""), query.get("repair", ""))
    preview = edits.preview_repair(version, chosen)
    about = {"code": chosen.code, "repair": chosen.name, "title": chosen.title, "does": chosen.does}
    return Response({**about, **preview._asdict()})


@extend_schema(
    request=file_request(s.AppendIn),
    responses={202: s.NewVersionOut},
    summary="Add the rows of files, finished uploads or an address: a new version",
)
@api_view(["POST"])
@parser_classes(FILE_PARSERS)
def append(request: Request, dataset_id: str) -> Response:
    api.refuse_oversize(request)
    found = dataset_for(actor_of(request), dataset_id, need="write")
    fields = api.read(s.AppendIn, request)
    browse.check_ready(found.latest)
    options = taken(fields)
    files = _sources(request, found.project, fields)
    return _accepted(actions.append_files(actor=actor_of(request), dataset=found, sources=files, options=options))


@extend_schema(
    parameters=[VERSION], responses={(200, "text/csv"): OpenApiTypes.BINARY}, summary="The rejected rows, as CSV"
)
@api_view(["GET"])
def errors_csv(request: Request, dataset_id: str) -> HttpResponseBase:
    query = api.read_query(request, {"version"})
    version = version_for(actor_of(request), dataset_id, query.get("version"))
    if not version.errors_key:
        raise UserError("dataset_not_ready")
    return download(
        request._request,
        key=version.errors_key,
        filename=f"{version.dataset.name} v{version.number} errors.csv",
        content_type="text/csv; charset=utf-8",
    )


@extend_schema(
    parameters=[VERSION, OpenApiParameter("format", enum=["parquet"], description="Default: CSV, of images a zip.")],
    responses={
        (200, "text/csv"): OpenApiTypes.BINARY,
        (200, "application/zip"): OpenApiTypes.BINARY,
        (200, "application/vnd.apache.parquet"): OpenApiTypes.BINARY,
    },
    summary="A version as a file that imports again to the same rows",
)
@api_view(["GET"])
def data(request: Request, dataset_id: str) -> HttpResponseBase:
    query = api.read_query(request, {"version", "format"})
    if query.get("format", "parquet") != "parquet":
        raise UserError("invalid", fields=[{"field": "format", "message": "parquet, or leave it out"}])
    version = version_for(actor_of(request), dataset_id, query.get("version"))
    pieces, ending = browse.export(version, query.get("format", ""))
    return download_pieces(
        request._request,
        pieces,
        filename=f"{version.dataset.name} v{version.number}.{ending}",
        content_type=_EXPORTED[ending],
    )


@extend_schema(
    methods=["GET"],
    parameters=[
        VERSION,
        OpenApiParameter("q", description="In the text, name, user, item or any cell; case and width do not count."),
        OpenApiParameter("label", description="A class."),
        OpenApiParameter("split", enum=SPLITS),
        OpenApiParameter("issue", description="A code of the data doctor's."),
        OpenApiParameter("mistakes", enum=["1"], description="The newest model predicts another label."),
        OpenApiParameter("suspects", enum=["1"], description="The label is suspected to be wrong."),
        OpenApiParameter("sort", enum=["suspicion"], description="Default: as stored."),
        OpenApiParameter("page", int),
    ],
    responses=s.RowsOut,
    summary="Rows, as stored, that meet all conditions",
)
@extend_schema(
    methods=["PATCH"], request=s.ChangesIn, responses={202: s.NewVersionOut}, summary="Correct rows: a new version"
)
@api_view(["GET", "PATCH"])
def rows(request: Request, dataset_id: str) -> Response:
    actor = actor_of(request)
    if request.method == "PATCH":
        dataset = dataset_for(actor, dataset_id, need="write")
        body = api.read(s.ChangesIn, request)
        base = body.get("version")
        return _accepted(actions.correct_rows(actor=actor, dataset=dataset, changes=body["changes"], base=base))
    query = api.read_query(request, {"version", "page"} | conditions.NAMES)
    version = version_for(actor, dataset_id, query.get("version"))
    where = conditions.read_where(version, query)
    found = browse.page_rows(version, where, api.positive_int(query.get("page"), "page"))
    following = None
    if found.page < found.pages:
        following = api.page_address(request, found.page + 1)
    return Response({"results": found.rows, "next": following, "total": found.total})


@extend_schema(
    parameters=[VERSION, OpenApiParameter("size", enum=list(browse.IMAGE_SIZES))],
    responses={(200, "image/jpeg"): OpenApiTypes.BINARY, (200, "image/png"): OpenApiTypes.BINARY},
    summary="The image of a row, scaled down",
)
@api_view(["GET"])
def row_image(request: Request, dataset_id: str, row: int) -> HttpResponse:
    query = api.read_query(request, {"version", "size"})
    version = version_for(actor_of(request), dataset_id, query.get("version"))
    return browse.image_answer(request._request, version, row, query.get("size", "128"))


@extend_schema(
    parameters=[
        OpenApiParameter("header", bool, description="Whether the first row names the columns."),
        OpenApiParameter("first_line", int, description="The line of that row."),
        OpenApiParameter("sheet", description="Of a workbook. Default: the first sheet that has rows."),
    ],
    responses=s.PreviewOut,
    summary="The first rows of an upload, and a guess at its columns",
)
@api_view(["GET"])
def preview(request: Request, upload_id: str) -> Response:
    options = file_options(api.read_query(request, set(NAMES)))
    return Response(browse.preview(upload_for(actor_of(request), upload_id), options))


def _accepted(version: DatasetVersion) -> Response:
    return Response(_new_version(version), status=202)


def _new_version(version: DatasetVersion) -> dict[str, Any]:
    return {"id": version.dataset_id, "version": version.number, "state": version.state}


def _row(version: DatasetVersion) -> dict[str, Any]:
    dataset = version.dataset
    return {
        "id": dataset.pk,
        "name": dataset.name,
        "project": dataset.project_id,
        "kind": dataset.kind,
        "version": version.number,
        "state": version.state,
        "rows": version.rows,
        "created": dataset.created,
        "trashed": dataset.trashed,
    }


def _detail(version: DatasetVersion) -> dict[str, Any]:
    job = version.jobs.filter(kind="ingest").order_by("-created").first()
    issues, repairs = edits.issues(version), edits.repairs_for(version)
    return {
        **_row(version),
        "origin": version.origin,
        "source": version.source_name,
        "mapping": version.mapping,
        "rejected": version.rejected,
        "schema": version.columns,
        "classes": version.classes,
        "splits": {split: version.splits.get(split, 0) for split in ("train", "validation", "test")},
        "profile": version.profile,
        "issues": [{**one, "repairs": [repair.name for repair in repairs.get(one["code"], [])]} for one in issues],
        "error": version.error,
        "job": job.pk if job else None,
        "created": version.created,
    }
