"""Looking into a dataset version: its rows, its images, and changing labels."""

import json
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from apps.core.api import positive_int
from apps.core.pages import SignedInRequest, go, page
from apps.datasets import actions, browse, conditions, edits, profile
from apps.datasets.access import dataset_for, version_for
from apps.datasets.forms import RelabelForm
from apps.datasets.models import DatasetVersion, Kind
from apps.teams.access import allows, role_of
from workers.contracts.error_codes import CATALOGUE
from workers.contracts.errors import UserError
from workers.ingest.rows import Where

IMAGES_PER_PAGE: Final = 60
# Classes that a number key sets.
_KEYS: Final = 9


@login_required
@require_safe
def rows(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """One page of the rows that meet the query's conditions: `?version=&page=`, and those of `conditions`."""
    version = version_for(request.user, dataset_id, request.GET.get("version"))
    if version.state != DatasetVersion.State.READY:
        # Its page says how far it is, or why it failed.
        return go(request, f"{reverse('datasets:dataset', args=[version.dataset_id])}?version={version.number}")
    try:
        where = _where(request, version)
    except UserError as error:
        if error.code != "invalid":
            raise
        # A link from before a change names what there is no more: all rows, and a word on why.
        messages.info(request, _unmet(error, version))
        return go(request, f"{reverse('datasets:rows', args=[version.dataset_id])}?version={version.number}")
    size = IMAGES_PER_PAGE if version.dataset.kind == Kind.IMAGE else browse.ROWS_PER_PAGE
    found = browse.page_rows(version, where, positive_int(request.GET.get("page"), "page"), size)
    if found.page > found.pages:
        found = browse.page_rows(version, where, found.pages, size)
    context: dict[str, Any] = {
        "dataset": version.dataset,
        "version": version,
        "found": found,
        "asked": where,
        "query": request.GET.urlencode(),
        "issues": _issues(version),
        "classes": profile.classes(version),
        # The page of its own, not the part of the dataset's page.
        "whole": not (request.htmx and request.htmx.target == "rows"),
        "part": "datasets/_images.html" if version.dataset.kind == Kind.IMAGE else "datasets/_rows.html",
        **_relabelling(request, version),
    }
    for row in found.rows:
        row |= _labels(version, row)
    if version.dataset.kind == Kind.TABULAR:
        context["columns"] = profile.own_columns(version)
        types = [column["type"] for column in context["columns"]]
        context["lines"] = [
            {**row, "cells": list(zip(row["values"].values(), types, strict=False))} for row in found.rows
        ]
    fragment, project = "datasets/_browser.html", version.dataset.project
    return page(request, "datasets/rows.html", fragment=fragment, project=project, **context)


def _where(request: SignedInRequest, version: DatasetVersion) -> Where:
    return conditions.read_where(version, {name: request.GET.get(name, "").strip() for name in conditions.NAMES})


def _unmet(error: UserError, version: DatasetVersion) -> str:
    told = error.params["fields"][0]
    return _("All rows of version %(number)d are shown; “%(field)s”: %(told)s.") % {
        "number": version.number,
        "field": told["field"],
        "told": told["message"],
    }


def _issues(version: DatasetVersion) -> list[dict[str, Any]]:
    counts = browse.issue_counts(version)
    return [{"code": code, "rows": rows, "message": CATALOGUE[code].message} for code, rows in counts.items()]


def _labels(version: DatasetVersion, row: dict[str, Any]) -> dict[str, Any]:
    """The labels of a row as a list, and those that a model says it has where these are others: `lacking` and `wrong`
    are the difference."""
    if "label" not in row:
        return {}
    given = row["labels"] if version.is_multi_label else [row["label"]]
    said = row.get("predicted_labels" if version.is_multi_label else "predicted")
    suggested = said if version.is_multi_label or said is None else [said]
    if suggested is None or set(suggested) == set(given):
        return {"given": given, "given_json": json.dumps(given)}
    return {
        "given": given,
        "given_json": json.dumps(given),
        "suggested": suggested,
        "suggested_json": json.dumps(suggested),
        "lacking": [label for label in suggested if label not in given],
        "wrong": [label for label in given if label not in suggested],
    }


def _relabelling(request: SignedInRequest, version: DatasetVersion) -> dict[str, Any]:
    newest = version.number == version.dataset.latest.number
    may_write = allows(role_of(request.user, version.dataset.project.team_id), "write")
    # By name, not by count: what a key means must not change with a correction.
    labels = sorted(version.classes)
    return {
        "newest": newest,
        "writable": newest and may_write and version.dataset.is_labelled and not version.dataset.trashed,
        "labels": labels,
        "keyed": labels[:_KEYS],
        "classes_json": json.dumps(labels[:_KEYS]),
        "next_number": version.number + 1,
        "most_changes": edits.MAX_CHANGES,
    }


@login_required
@require_safe
def matching(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """{"rows": [[number, labels, suggested labels or null], …]}: all rows that meet the conditions, to be changed
    together."""
    version = version_for(request.user, dataset_id, request.GET.get("version"))
    found = browse.matching(version, _where(request, version), edits.MAX_CHANGES)
    about = [(row["row"], _labels(version, row)) for row in found]
    return JsonResponse({"rows": [[row, labels.get("given", []), labels.get("suggested")] for row, labels in about]})


@login_required
@require_POST
def relabel(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """Give rows other labels: a new version of the dataset."""
    dataset = dataset_for(request.user, dataset_id, need="write")
    form = RelabelForm(request.POST)
    if not form.is_valid():
        raise UserError(
            "invalid", fields=[{"field": name, "message": str(told[0])} for name, told in form.errors.items()]
        )
    changes = form.cleaned_data["changes"]
    base = form.cleaned_data["version"]
    version = actions.correct_rows(actor=request.user, dataset=dataset, changes=changes, base=base)
    one, many = "%(n)d label is changed in version %(v)d.", "%(n)d labels are changed in version %(v)d."
    words = ngettext(one, many, len(changes))
    messages.success(request, words % {"n": len(changes), "v": version.number})
    return go(request, reverse("datasets:dataset", args=[dataset.pk]))


@login_required
@require_safe
def image(request: SignedInRequest, dataset_id: str, row: int) -> HttpResponse:
    """A thumbnail of an image row, drawn by us: never the uploaded bytes."""
    version = version_for(request.user, dataset_id, request.GET.get("version"))
    return browse.image_answer(request, version, row, request.GET.get("size", "128"))
