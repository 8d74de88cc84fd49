"""Looking into a dataset version: its rows, its images, and correcting a label."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from apps.core.api import positive_int
from apps.core.pages import SignedInRequest, go, page
from apps.datasets import actions, browse, conditions, profile
from apps.datasets.access import dataset_for, version_for
from apps.datasets.forms import RelabelForm
from apps.datasets.models import DatasetVersion, Kind
from workers.contracts.errors import UserError


@login_required
@require_safe
def rows(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """One page of the rows that meet the query's conditions: `?version=&page=`, and those of `conditions`."""
    version = version_for(request.user, dataset_id, request.GET.get("version"))
    where = conditions.read_where(version, {name: request.GET.get(name, "").strip() for name in conditions.NAMES})
    found = browse.page_rows(version, where, positive_int(request.GET.get("page"), "page"))
    newest = version.number == version.dataset.latest.number
    context: dict[str, Any] = {
        "dataset": version.dataset,
        "version": version,
        "found": found,
        "asked": where,
        "labels": sorted(version.classes),
        "can_relabel": newest and version.dataset.is_labelled,
    }
    if version.dataset.kind == Kind.TABULAR:
        context["columns"] = profile.own_columns(version)
        types = [column["type"] for column in context["columns"]]
        context["lines"] = [
            {**row, "cells": list(zip(row["values"].values(), types, strict=False))} for row in found.rows
        ]
    template = "datasets/_images.html" if version.dataset.kind == Kind.IMAGE else "datasets/_rows.html"
    return page(
        request, "datasets/rows.html", fragment=template, project=version.dataset.project, part=template, **context
    )


@login_required
@require_POST
def relabel(request: SignedInRequest, dataset_id: str, row: int) -> HttpResponse:
    """Give a row another label: a new version of the dataset."""
    dataset = dataset_for(request.user, dataset_id, need="write")
    form = RelabelForm(request.POST)
    if not form.is_valid():
        raise UserError("invalid", fields=[{"field": "label", "message": "missing or too long"}])
    changes = [{"row": row, **form.cleaned_data["change"]}]
    version: DatasetVersion = actions.correct_rows(actor=request.user, dataset=dataset, changes=changes)
    messages.success(
        request, _("Row %(row)d is corrected in version %(number)d.") % {"row": row, "number": version.number}
    )
    return go(request, reverse("datasets:dataset", args=[dataset.pk]))


@login_required
@require_safe
def image(request: SignedInRequest, dataset_id: str, row: int) -> HttpResponse:
    """A thumbnail of an image row, drawn by us: never the uploaded bytes."""
    version = version_for(request.user, dataset_id, request.GET.get("version"))
    data, media_type = browse.row_image(version, row)
    # A version never changes, so its pictures may be kept, by this browser alone.
    return HttpResponse(data, content_type=media_type, headers={"Cache-Control": "private, max-age=86400, immutable"})
