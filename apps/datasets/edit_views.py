"""Pages about changing a dataset: a repair, what changed between versions, its name, the trash."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.core.api import positive_int
from apps.core.pages import SignedInRequest, go, page, paginate
from apps.datasets import actions, differences, edits, profile
from apps.datasets.access import any_dataset_for, dataset_for, version_for
from apps.datasets.forms import NameForm
from apps.datasets.models import Dataset
from apps.datasets.trash import KEPT
from apps.projects.access import project_for
from workers.contracts.errors import UserError


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def repair(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """What a repair of the latest version would do: `?code=&repair=`; posting does it."""
    dataset = dataset_for(request.user, dataset_id, need="write")
    if request.method == "POST":
        code, name = (request.POST.get(field, "") for field in ("code", "repair"))
        made = actions.repair_version(actor=request.user, dataset=dataset, code=code, name=name)
        return go(request, f"{reverse('datasets:dataset', args=[dataset.pk])}?version={made.number}")
    version = dataset.latest
    try:
        chosen = edits.repair_for(version, request.GET.get("code", ""), request.GET.get("repair", ""))
    except UserError as error:
        # A finding that is repaired by now: its page is that of the data.
        messages.info(request, error.params["fields"][0]["message"])
        return go(request, reverse("datasets:dataset", args=[dataset.pk]))
    context: dict[str, Any] = {
        "dataset": dataset,
        "version": version,
        "issue": next(issue for issue in edits.issues(version) if issue["code"] == chosen.code),
        "chosen": chosen,
        "ways": edits.repairs_for(version)[chosen.code],
        "preview": edits.preview_repair(version, chosen),
        "next_number": version.number + 1,
    }
    return page(request, "datasets/repair.html", project=dataset.project, **context)


@login_required
@require_safe
def diff(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """What changed from one version to another: `?from=&to=&change=&page=`."""
    second = version_for(request.user, dataset_id, request.GET.get("to"))
    dataset = second.dataset
    ready = list(dataset.versions.filter(state="ready"))
    before = next((one for one in ready if one.number < second.number), second)
    first = version_for(request.user, dataset_id, request.GET.get("from") or str(before.number))
    number = positive_int(request.GET.get("page"), "page")
    found = differences.changes(first, second, request.GET.get("change", ""), number)
    context: dict[str, Any] = {
        "dataset": dataset,
        "first": first,
        "second": second,
        "ready": ready,
        "found": found,
        "tabs": [(change, profile.CHANGES[change], count) for change, count in found.counts.items()],
    }
    return page(request, "datasets/diff.html", fragment="datasets/_diff.html", project=dataset.project, **context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def settings(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """The name of a dataset, and the way into the trash."""
    dataset = dataset_for(request.user, dataset_id, need="write")
    form = NameForm(request.POST or None, initial={"name": dataset.name})
    if request.method == "POST" and form.is_valid():
        actions.rename_dataset(actor=request.user, dataset=dataset, name=form.cleaned_data["name"])
        messages.success(request, _("Saved."))
        return go(request, reverse("datasets:dataset", args=[dataset.pk]))
    status = 422 if form.errors else 200
    context: dict[str, Any] = {"dataset": dataset, "form": form, "days": KEPT.days}
    return page(request, "datasets/settings.html", project=dataset.project, status=status, **context)


@login_required
@require_safe
def trash(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The datasets of a project that can still be taken back."""
    project = project_for(request.user, project_id)
    rows = paginate(request, Dataset.every.in_trash().filter(project=project).order_by("-trashed"))
    for dataset in rows.object_list:
        dataset.goes = dataset.trashed + KEPT
    return page(request, "datasets/trash.html", project=project, rows=rows, datasets=rows.object_list, days=KEPT.days)


@login_required
@require_POST
def put_into_trash(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """Put a dataset into the trash."""
    dataset = any_dataset_for(request.user, dataset_id, need="write")
    actions.trash_dataset(actor=request.user, dataset=dataset)
    messages.success(request, _("%(name)s is in the trash.") % {"name": dataset.name})
    return go(request, reverse("datasets:datasets", args=[dataset.project_id]))


@login_required
@require_POST
def untrash(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """Take a dataset out of the trash."""
    dataset = any_dataset_for(request.user, dataset_id, need="write")
    actions.untrash_dataset(actor=request.user, dataset=dataset)
    messages.success(request, _("%(name)s is back.") % {"name": dataset.name})
    return go(request, reverse("datasets:dataset", args=[dataset.pk]))
