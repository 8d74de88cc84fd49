"""Pages of the registry: the models of a project, side by side, and one model's report."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.views.decorators.http import require_GET

from apps.core.pages import SignedInRequest, page, paginate
from apps.datasets.models import DatasetVersion
from apps.projects.access import project_for
from apps.registry import report
from apps.registry.access import model_for


@login_required
@require_GET
def models(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The model versions of a project, newest first, with the metric that decides between them."""
    project = project_for(request.user, project_id)
    listed = project.model_versions.light().select_related("dataset_version__dataset")
    rows = paginate(request, listed.defer(*DatasetVersion.heavy("dataset_version__")))
    table: list[dict[str, Any]] = [{"model": model, "headline": report.headline(model)} for model in rows]
    live = set(
        project.endpoints.filter(deleted=None, revisions__traffic__gt=0).values_list("revisions__model", flat=True)
    )
    return page(
        request,
        "registry/models.html",
        project=project,
        fragment="registry/_models.html",
        rows=rows,
        table=table,
        live=live,
    )


@login_required
@require_GET
def model(request: SignedInRequest, model_id: str) -> HttpResponse:
    """One model version: how good it is, on what, why to trust it, and what to do with it next."""
    found = model_for(request.user, model_id)
    endpoints = found.project.endpoints.filter(deleted=None, template=found.template)
    return page(
        request,
        "registry/model.html",
        project=found.project,
        model=found,
        endpoints=endpoints,
        serving=endpoints.filter(revisions__model=found, revisions__traffic__gt=0).distinct(),
        **report.context(found),
    )
