"""What happens to model versions."""

from typing import Final

from django.db import transaction
from django.db.models import Max

from apps.core import audit
from apps.projects.models import Project
from apps.registry.models import ModelVersion
from apps.training.models import Job
from workers.contracts import names
from workers.contracts.errors import JobError
from workers.contracts.manifest import TrainResult

BUNDLE: Final = "bundle.zip"


@transaction.atomic
def register_model(*, job: Job, result: TrainResult) -> ModelVersion:
    """Make the model version of a succeeded training. A job has one: a second call returns the first one's.

    Raises JobError `bundle_invalid` where the result names no bundle.
    """
    # Numbers count up within the project: one registration at a time.
    project = Project.objects.select_for_update(no_key=True, of=("self",)).select_related("team").get(pk=job.project_id)
    found = ModelVersion.objects.filter(job=job).first()
    if found:
        return found
    bundle = result.files.get(BUNDLE)
    if bundle is None:
        raise JobError("bundle_invalid", "The training left no bundle.")
    model = ModelVersion.objects.create(
        project=project,
        number=(project.model_versions.aggregate(last=Max("number"))["last"] or 0) + 1,
        name=job.name,
        job=job,
        dataset_version=job.dataset_version,
        template=job.template,
        kind=job.dataset_version.dataset.kind,
        preset=job.preset,
        parameters=result.manifest.provenance.parameters,
        metrics=result.metrics,
        report=result.report.model_dump(mode="json"),
        certificate=result.certificate.model_dump(),
        manifest=result.manifest.model_dump(),
        bundle_key=f"{names.attempt_prefix(job.pk, job.attempt)}/output/{BUNDLE}",
        bundle_sha256=str(bundle["sha256"]),
        bundle_bytes=int(bundle["bytes"]),
    )
    audit.record(actor=job.created_by, team=project.team, project=project, event="model.registered", noun=model)
    return model
