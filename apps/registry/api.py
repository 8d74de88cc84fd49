"""Control API: model versions and their bundles."""

import re
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.api import page, read_query
from apps.core.downloads import download
from apps.core.schema import paged
from apps.datasets.models import DatasetVersion
from apps.projects.access import project_for
from apps.registry.access import model_for
from apps.registry.models import ModelVersion
from apps.registry.serializers import ModelBriefSerializer, ModelSerializer
from apps.teams.authentication import actor_of
from workers.contracts.manifest import Certificate
from workers.contracts.report import read_report


@extend_schema(
    operation_id="models_list",
    parameters=[OpenApiParameter("project", str), OpenApiParameter("page", int)],
    responses=paged(ModelBriefSerializer),
)
@api_view(["GET"])
def models(request: Request) -> Response:
    """The model versions of a project, or of all your teams; newest first. `report` is left out here."""
    query = read_query(request, {"project", "page"})
    listed = ModelVersion.objects.light().select_related("dataset_version")
    rows = listed.defer(*DatasetVersion.heavy("dataset_version__"))
    if "project" in query:
        rows = rows.filter(project=project_for(actor_of(request), query["project"]))
    else:
        rows = rows.filter(project__team__memberships__user=actor_of(request))
    return page(request, rows, _brief)


@extend_schema(operation_id="models_get", responses=ModelSerializer)
@api_view(["GET"])
def model(request: Request, model_id: str) -> Response:
    """A model version with its metrics, report and parity certificate."""
    found = model_for(actor_of(request), model_id)
    return Response({**_brief(found), "report": read_report(found.report).model_dump(mode="json")})


@extend_schema(operation_id="models_bundle", responses={(200, "application/zip"): OpenApiTypes.BINARY, 206: None})
@api_view(["GET"])
def bundle(request: Request, model_id: str) -> HttpResponseBase:
    """The bundle: a zip that predicts without Slipway. One byte range may be asked for."""
    found = model_for(actor_of(request), model_id)
    name = re.sub(r"[^\w.-]+", "-", found.name).strip("-.") or "model"
    return download(
        request._request,
        key=found.bundle_key,
        filename=f"{name}-{found.number}.zip",
        content_type="application/zip",
        etag=found.bundle_sha256,
    )


def _brief(found: ModelVersion) -> dict[str, Any]:
    return {
        "id": found.pk,
        "number": found.number,
        "name": found.name,
        "project": found.project_id,
        "template": found.template,
        "kind": found.kind,
        "preset": found.preset,
        "parameters": found.parameters,
        "dataset": found.dataset_version.dataset_id,
        "dataset_version": found.dataset_version.number,
        "job": found.job_id,
        "metrics": found.metrics,
        "certificate": Certificate.model_validate(found.certificate).model_dump(),
        "deployable": found.is_deployable,
        "bundle": {"sha256": found.bundle_sha256, "bytes": found.bundle_bytes},
        "created": found.created,
    }
