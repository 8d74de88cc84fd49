"""Pages of data: the list, a new dataset in two steps, a dataset."""

from pathlib import PurePath
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.core.forms import attempt
from apps.core.pages import SignedInRequest, go, page, paginate
from apps.datasets import actions, browse, fetching, profile, sources
from apps.datasets.access import dataset_for, upload_for, version_for
from apps.datasets.forms import AddressForm, ImportForm
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.datasets.options import asked_on_page, choices
from apps.datasets.uploads import imported_from
from apps.projects.access import project_for
from apps.projects.models import Project
from apps.teams.models import User
from apps.training import live
from workers.contracts.errors import UserError
from workers.contracts.job import FileOptions
from workers.contracts.kinds import KINDS


@login_required
@require_safe
def datasets(request: SignedInRequest, project_id: str) -> HttpResponse:
    """The datasets of a project, newest first."""
    project = project_for(request.user, project_id)
    rows = paginate(request, project.datasets.with_versions())
    in_trash = Dataset.every.in_trash().filter(project=project).count()
    return page(
        request, "datasets/datasets.html", project=project, rows=rows, datasets=rows.object_list, in_trash=in_trash
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, project_id: str) -> HttpResponse:
    """Where files are dropped; the script sends them by tus and goes on to `preview`. Posting an address leads there
    while a runner fetches it."""
    project = project_for(request.user, project_id, need="write")
    form = AddressForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (upload := fetched(request, project, form)):
        return go(request, reverse("datasets:preview", args=[project.pk, upload.pk]))
    following = reverse("datasets:preview", args=[project.pk, "UPLOAD"])
    context: dict[str, Any] = {"next": following, "max_bytes": settings.SLIPWAY_MAX_UPLOAD_BYTES, "form": form}
    return page(request, "datasets/new.html", project=project, **context, status=422 if form.errors else 200)


def fetched(request: SignedInRequest, project: Project, form: AddressForm) -> Upload | None:
    """The upload that will be what lies at the form's address; None where that was refused, as the form says then."""
    asked = {"actor": request.user, "team": project.team, "url": form.cleaned_data["url"]}
    return attempt(form, lambda: fetching.fetch_upload(**asked))


def still_fetching(
    request: SignedInRequest, project: Project, uploads: list[Upload], another: str
) -> HttpResponse | None:
    """The page of an upload that is not here yet, which looks again every second; None where all are here. Posting
    `again` fetches what could not be fetched; `another` is where to choose another file.
    """
    for upload in uploads:
        if request.method == "POST" and "again" in request.POST and fetching.look(upload):
            fetching.send(upload)
            return go(request, request.path)
        if found := fetching.look(upload):
            share = found.read / found.size if found.size else 0
            context: dict[str, Any] = {"upload": upload, "fetch": found, "share": share, "another": another}
            context["is_overdue"] = fetching.is_overdue(found)
            template = "datasets/fetching.html"
            return page(request, template, fragment="datasets/_fetching.html", project=project, **context)
    asked_by_that_page = request.htmx and request.htmx.target == "fetching"
    return HttpResponse(headers={"HX-Refresh": "true"}) if asked_by_that_page else None


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def preview(request: SignedInRequest, project_id: str, upload_id: str) -> HttpResponse:
    """What Slipway makes of an upload, or of several by commas, for correction; posting imports it."""
    project = project_for(request.user, project_id, need="write")
    uploads = uploads_for(request.user, upload_id)
    upload = uploads[0]
    if waiting := still_fetching(request, project, uploads, reverse("datasets:new", args=[project.pk])):
        return waiting
    try:
        options = asked_on_page(request)
        found = browse.preview(upload, options)
    except UserError as error:
        problem = error.card().model_dump()
        return page(request, "datasets/preview.html", project=project, upload=upload, problem=problem, status=422)
    form = _import_form(request, upload, found)
    if request.method == "POST" and form.is_valid():
        version = attempt(form, lambda: _import(request, project, uploads, form, options))
        if version:
            return go(request, reverse("datasets:dataset", args=[version.dataset_id]))
    context: dict[str, Any] = {"upload": upload, "uploads": uploads, "form": form, "sample": sample_of(found, options)}
    return page(request, "datasets/preview.html", project=project, **context, status=422 if form.errors else 200)


def _import_form(request: SignedInRequest, upload: Upload, found: dict[str, Any]) -> ImportForm:
    archive = KINDS[found["kind_guess"]].archive
    kinds: list[str] = [name for name, kind in KINDS.items() if kind.archive == archive]
    guesses = {
        f"{kind}-{role}": column
        for kind, mapping in found["mapping_guesses"].items()
        for role, column in mapping.items()
    }
    for kind, mapping in found["mapping_guesses"].items():
        guesses[f"{kind}-label_separator"] = found["separator_guesses"].get(mapping.get("label"), "")
    name = PurePath(upload.filename).stem.replace("_", " ").strip() or upload.filename
    columns = [column["name"] for column in found["columns"]]
    initial = {"name": name, "kind": found["kind_guess"], **guesses}
    return ImportForm(request.POST or None, columns=columns, kinds=kinds, initial=initial)


def uploads_for(user: User, upload_ids: str) -> list[Upload]:
    """Uploads by their ids, separated by commas. Raises UserError `not_found`."""
    return [upload_for(user, upload_id) for upload_id in upload_ids.split(",")[: sources.MAX_FILES]]


def _import(
    request: SignedInRequest, project: Project, uploads: list[Upload], form: ImportForm, options: FileOptions
) -> DatasetVersion:
    wanted = {key: form.cleaned_data[key] for key in ("name", "kind", "mapping")}
    found = sources.of_uploads(request.user, project.team, uploads)
    return actions.create_dataset(actor=request.user, project=project, sources=found, options=options, **wanted)


def sample_of(found: dict[str, Any], options: FileOptions) -> dict[str, Any]:
    """The first rows as the pages show them."""
    separators = {"\t": _("tab-separated"), ";": _("separated by semicolons"), "|": _("separated by bars")}
    facts = [profile.format_name(found["format"]), found.get("encoding"), separators.get(found.get("delimiter") or "")]
    shown = [fact for fact in facts if fact]
    # Rows are shown without the last columns where none of them has that many cells; a file without rows has its head.
    width = max(map(len, found["rows"]), default=len(found["columns"]))
    return {
        "columns": found["columns"][:width],
        "rows": found["rows"][:10],
        "facts": shown,
        "header": found["header"],
        "problems": found["problems"],
        "columns_left_out": found["columns_left_out"],
        "choices": choices(found, options),
        "without_label": found["empty_labels"].get(found["mapping_guess"].get("label"), 0),
    }


@login_required
@require_safe
def dataset(request: SignedInRequest, dataset_id: str) -> HttpResponse:
    """A version of a dataset: its import while that runs, then what is in it. htmx polls a running import."""
    version = version_for(request.user, dataset_id, request.GET.get("version"))
    found = version.dataset
    job = version.jobs.filter(kind="ingest").order_by("-created").first()
    lineage = profile.lineage(found)
    context: dict[str, Any] = {
        "dataset": found,
        "version": version,
        "versions": [one["version"] for one in lineage],
        "latest": found.latest,
        "lineage": lineage,
        "job": job,
        "situation": live.situation(job) if job and not job.is_over else None,
    }
    if version.state == DatasetVersion.State.FAILED and not version.parent:
        context["imported_from"] = ",".join(upload.pk for upload in imported_from(version, request.user))
    if version.state == DatasetVersion.State.READY:
        context |= {
            "readiness": profile.readiness(version),
            "figures": profile.figures(version),
            "facts": profile.facts(version),
            "classes": profile.classes(version),
            "splits": profile.splits(version),
            "charts": profile.charts(version),
            "own_columns": profile.own_columns(version),
        }
    if version.state != DatasetVersion.State.PROCESSING:
        context["issues"] = profile.issue_cards(version)
    response = page(
        request, "datasets/dataset.html", fragment="datasets/_version.html", project=found.project, **context
    )
    if request.headers.get("HX-Request") == "true" and version.state != DatasetVersion.State.PROCESSING:
        # The import is over: what stands above it, download and rows to add, is there now, too.
        response["HX-Refresh"] = "true"
    return response


@login_required
@require_POST
def restore(request: SignedInRequest, dataset_id: str, number: int) -> HttpResponse:
    """Make an earlier version the newest."""
    dataset_for(request.user, dataset_id, need="write")
    version = version_for(request.user, dataset_id, str(number))
    restored = actions.restore_version(actor=request.user, version=version)
    words = {"old": version.number, "new": restored.number}
    messages.success(request, _("Version %(old)d is the newest again, as version %(new)d.") % words)
    return go(request, reverse("datasets:dataset", args=[dataset_id]))
