"""What people do with jobs. An action is one transaction with its audit entry; broker and storage come after commit."""

from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from apps.core import audit
from apps.core.throttle import throttled
from apps.datasets.models import DatasetVersion
from apps.projects.models import Project
from apps.teams.access import require
from apps.teams.models import User
from apps.training import compute, dispatch, outcomes
from apps.training.models import Job
from apps.training.runners import training_queue
from workers.contracts import names
from workers.contracts.errors import UserError
from workers.task_templates import TEMPLATES
from workers.task_templates.base import PRESETS, TaskTemplate

# A batch prediction that takes longer goes on from its checkpoint when it is started again.
BATCH_LIMIT_S: Final = 24 * 3600


@transaction.atomic
def queue_ingest(*, actor: User | None, version: DatasetVersion) -> Job:
    """Queue the import of a dataset version."""
    dataset = version.dataset
    job = Job.objects.create(
        project=dataset.project,
        kind=Job.Kind.INGEST,
        name=dataset.name,
        queue=names.QUEUE_INGEST,
        dataset_version=version,
        created_by=actor,
        queued=timezone.now(),
    )
    _queued(job, actor)
    return job


@transaction.atomic
def queue_batch(*, actor: User | None, version: DatasetVersion, name: str) -> Job:
    """Queue a batch prediction by a model that was trained on a dataset version."""
    job = Job.objects.create(
        project=version.dataset.project,
        kind=Job.Kind.BATCH,
        name=name,
        queue=names.QUEUE_BATCH,
        dataset_version=version,
        time_limit_s=BATCH_LIMIT_S,
        created_by=actor,
        queued=timezone.now(),
    )
    _queued(job, actor)
    return job


@throttled("job")
def create_training(
    *,
    actor: User,
    project: Project,
    version: DatasetVersion,
    template: str,
    preset: str = "balanced",
    parameters: dict[str, Any] | None = None,
    name: str = "",
    priority: int = 0,
    idempotency_key: str = "",
    minutes: float | None = None,
    cost: Decimal | None = None,
) -> Job:
    """Queue a training. With an idempotency key, the actor's second call returns the first one's job, if it asks for
    the same.

    After `minutes` of useful computing, or when it has cost `cost`, training stops with the best model so far.

    Raises UserError `template_unknown`, `template_mismatch`, `dataset_not_ready`, `parameters_invalid`, `conflict` for
    an archived project or a key that was used for another job, `not_found` for a version of another one, `invalid`
    for a cost limit where no price is set.
    """
    require(actor, project.team_id, "write")
    _check_version(project, version)
    task = _template(template, version)
    if preset not in PRESETS or priority not in dispatch.PRIORITIES:
        raise UserError("invalid", "The preset or the priority is not known.")
    devices = getattr(task.resolve(preset, parameters or {}), "devices", 1)
    queue = training_queue(devices)
    limits = compute.limits(queue, devices, minutes, cost)
    with transaction.atomic():
        if idempotency_key:
            # Two equal requests at once: the second waits here for the first.
            User.objects.select_for_update(no_key=True).get(pk=actor.pk)
            first = Job.objects.filter(created_by=actor, project=project, idempotency_key=idempotency_key).first()
            if first:
                begun = (first.dataset_version.dataset_id, first.template, first.preset, first.parameters, first.name)
                if begun != (version.dataset_id, template, preset, parameters or {}, name.strip() or first.name):
                    raise UserError("conflict", "This Idempotency-Key was used for another job.")
                return first
        job = Job.objects.create(
            project=project,
            kind=Job.Kind.TRAIN,
            name=name.strip() or f"{task.title}: {version.dataset.name}"[:120],
            queue=queue,
            devices=devices,
            priority=priority,
            dataset_version=version,
            template=template,
            preset=preset,
            parameters=parameters or {},
            idempotency_key=idempotency_key,
            **limits,
            created_by=actor,
            queued=timezone.now(),
        )
        _queued(job, actor)
    return job


@transaction.atomic
def cancel_job(*, actor: User, job: Job) -> Job:
    """Stop a job: at once while it waits, within seconds while it runs. Raises UserError `job_ended`."""
    require(actor, job.project.team_id, "write")
    job = Job.objects.select_for_update(of=("self",)).select_related("project__team").get(pk=job.pk)
    if job.is_over:
        raise UserError("job_ended")
    if job.cancel_requested is None:
        job.cancel_requested = timezone.now()
        job.save(update_fields=["cancel_requested"])
        audit.record(actor=actor, team=job.project.team, project=job.project, event="job.cancelled", noun=job)
        if job.state == Job.State.QUEUED:
            outcomes.cancel(job, timezone.now())
        transaction.on_commit(lambda: dispatch.tell_cancelled(job.pk), robust=True)
    return job


def retry_job(*, actor: User, job: Job, parameters: dict[str, Any] | None = None) -> Job:
    """Queue the job's work again as a new job; `parameters` replace single ones. Raises UserError `conflict`."""
    require(actor, job.project.team_id, "write")
    if not job.is_over:
        raise UserError("conflict", "The job has not ended yet.")
    if job.kind == Job.Kind.INGEST:
        return _retry_ingest(actor, job)
    if job.kind == Job.Kind.BATCH:
        from apps.predictions.actions import retry_prediction  # it imports ours

        return retry_prediction(actor=actor, job=job)
    with transaction.atomic():
        again = create_training(
            actor=actor,
            project=job.project,
            version=job.dataset_version,
            template=job.template,
            preset=job.preset,
            parameters={**job.parameters, **(parameters or {})},
            name=job.name,
            priority=job.priority,
            minutes=job.time_limit_s / 60,
            cost=job.cost_limit,
        )
        if (job.error or {}).get("code") in outcomes.RESUMABLE:
            Job.objects.filter(pk=again.pk).update(checkpoint=job.checkpoint)
    return again


@transaction.atomic
def _retry_ingest(actor: User, job: Job) -> Job:
    failed = DatasetVersion.objects.filter(pk=job.dataset_version_id, state=DatasetVersion.State.FAILED)
    if failed.update(state=DatasetVersion.State.PROCESSING, error=None) != 1:
        raise UserError("conflict", "Only a failed import can be started again.")
    return queue_ingest(actor=actor, version=DatasetVersion.objects.get(pk=job.dataset_version_id))


def _check_version(project: Project, version: DatasetVersion) -> None:
    """Whether a project may train on a version now."""
    if version.dataset.project_id != project.pk:
        raise UserError("not_found")
    if project.archived:
        raise UserError("conflict", "The project is archived.")
    if version.dataset.trashed:
        raise UserError("conflict", "The dataset is in the trash.", hint="Take it back first.")
    if version.state != DatasetVersion.State.READY:
        raise UserError("dataset_not_ready")


def _template(key: str, version: DatasetVersion) -> TaskTemplate:
    task = TEMPLATES.get(key)
    if task is None:
        known = [{"field": "template", "message": f"one of {', '.join(TEMPLATES)}"}]
        raise UserError("template_unknown", fields=known)
    if task.kind != version.dataset.kind:
        message = f"This template takes {task.kind} data, the dataset is {version.dataset.kind}."
        raise UserError("template_mismatch", message, fields=[{"field": "template", "message": message}])
    return task


def _queued(job: Job, actor: User | None) -> None:
    audit.record(actor=actor, team=job.project.team, project=job.project, event="job.created", noun=job, kind=job.kind)
    dispatch.send_on_commit(job)
