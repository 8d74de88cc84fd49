"""Pages that add the rows of a file to a dataset: choose it, look at it, add it."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from apps.core.pages import SignedInRequest, go, page
from apps.datasets import actions, browse, sources
from apps.datasets.access import dataset_for
from apps.datasets.forms import AddressForm
from apps.datasets.options import asked_on_page
from apps.datasets.views import fetched, sample_of, still_fetching, uploads_for
from workers.contracts.errors import UserError


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def choose(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """Where files are dropped; the script goes on to `check`. Posting an address leads there while it is fetched."""
    dataset = dataset_for(request.user, dataset_id, need="write")
    form = AddressForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (upload := fetched(request, dataset.project, form)):
        return go(request, reverse("datasets:append-check", args=[dataset.pk, upload.pk]))
    context: dict[str, Any] = {
        "dataset": dataset,
        "form": form,
        "next": reverse("datasets:append-check", args=[dataset.pk, "UPLOAD"]),
        "max_bytes": settings.SLIPWAY_MAX_UPLOAD_BYTES,
    }
    status = 422 if form.errors else 200
    return page(request, "datasets/append.html", project=dataset.project, **context, status=status)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def check(request: SignedInRequest, dataset_id: str, upload_id: str) -> HttpResponse:
    """The first rows of what is to be added; posting adds it."""
    dataset = dataset_for(request.user, dataset_id, need="write")
    uploads = uploads_for(request.user, upload_id)
    if waiting := still_fetching(request, dataset.project, uploads, reverse("datasets:append", args=[dataset.pk])):
        return waiting
    try:
        options = asked_on_page(request)
        if request.method == "POST":
            found = sources.of_uploads(request.user, dataset.project.team, uploads)
            actions.append_files(actor=request.user, dataset=dataset, sources=found, options=options)
            return go(request, reverse("datasets:dataset", args=[dataset.pk]))
        sample = sample_of(browse.preview(uploads[0], options), options)
    except UserError as error:
        context: dict[str, Any] = {"dataset": dataset, "uploads": uploads, "problem": error.card().model_dump()}
        return page(request, "datasets/append_check.html", project=dataset.project, **context, status=error.status)
    context = {"dataset": dataset, "uploads": uploads, "sample": sample}
    return page(request, "datasets/append_check.html", project=dataset.project, **context)
