"""Jobs: heavy work that runners do, and everything that is known of its course."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.ids import IdField
from apps.datasets.models import DatasetVersion
from apps.registry.models import ModelVersion

if TYPE_CHECKING:
    from apps.teams.models import User


class JobQuerySet(models.QuerySet["Job"]):
    """Sets of jobs."""

    def visible_to(self, user: "User") -> "JobQuerySet":
        """The jobs of the user's teams."""
        return self.filter(project__team__memberships__user=user)

    def listed(self) -> "JobQuerySet":
        """With the project, data and model that lists name, and without what is large about them."""
        related = self.select_related("project", "dataset_version__dataset", "model")
        return related.defer(*DatasetVersion.heavy("dataset_version__"), *ModelVersion.heavy("model__"))

    def ahead_of(self, job: "Job") -> "JobQuerySet":
        """The queued jobs that runners take before this one."""
        before = models.Q(priority__gt=job.priority) | models.Q(priority=job.priority, queued__lt=job.queued)
        return self.filter(before, queue=job.queue, state=Job.State.QUEUED)


class Job(models.Model):
    """One run of heavy work: an ingest, a training or a batch prediction. Its state changes only through
    `states.transition`."""

    class Kind(models.TextChoices):
        INGEST = "ingest", _("Import")
        TRAIN = "train", _("Training")
        BATCH = "batch", _("Batch prediction")

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        SUCCEEDED = "succeeded", _("Succeeded")
        FAILED = "failed", _("Failed")
        CANCELLED = "cancelled", _("Cancelled")

    id = IdField("job")
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    name = models.CharField(_("name"), max_length=120)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    queue = models.CharField(max_length=20)
    priority = models.SmallIntegerField(default=0)
    # The fencing token: events of any other attempt are ignored.
    attempt = models.PositiveIntegerField(default=1)
    # What it imports or trains on; of a batch prediction, what its model was trained on.
    dataset_version = models.ForeignKey("datasets.DatasetVersion", on_delete=models.CASCADE, related_name="jobs")
    template = models.CharField(max_length=40, blank=True)
    preset = models.CharField(max_length=10, blank=True)
    devices = models.PositiveSmallIntegerField(default=1)  # of one host, that it asks for
    parameters = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    # Useful seconds after which training stops with the best model so far. What one device cost per hour when the job
    # was queued, and how much it may cost: already part of the time limit, kept to be shown.
    time_limit_s = models.PositiveIntegerField(default=6 * 3600)
    price_per_hour = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    cost_limit = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    # What the running attempt last said.
    progress = models.FloatField(default=0.0)
    phase = models.CharField(max_length=80, blank=True)
    eta_seconds = models.FloatField(null=True)
    device = models.CharField(max_length=120, blank=True)
    runner = models.CharField(max_length=120, blank=True)
    last_seq = models.BigIntegerField(default=0)
    last_event = models.DateTimeField(null=True)
    # Final metrics (TrainResult.metrics) or, while it runs, the newest value of each series.
    metrics = models.JSONField(default=dict)
    error = models.JSONField(null=True)
    cancel_requested = models.DateTimeField(null=True)
    # The newest checkpoint: {"job", "attempt", "step", "files": [{"name", "sha256", "bytes"}]}; of an earlier job, too.
    checkpoint = models.JSONField(null=True)
    # What the client sent as Idempotency-Key: a repeated request finds its first job.
    idempotency_key = models.CharField(max_length=100, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)
    # When the present attempt was queued, and last sent to the broker.
    queued = models.DateTimeField()
    sent = models.DateTimeField(null=True)
    # When the first attempt started, and when the job ended.
    started = models.DateTimeField(null=True)
    ended = models.DateTimeField(null=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created"]
        indexes: ClassVar = [
            models.Index(fields=["state", "queue", "-priority", "queued"]),
            models.Index(fields=["project", "-created"]),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "created_by", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="one_job_per_idempotency_key",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_over(self) -> bool:
        return self.state in (
            self.State.SUCCEEDED,
            self.State.FAILED,
            self.State.CANCELLED,
        )


class Attempt(models.Model):
    """One try at a job. `lost_seconds`: device seconds whose work is in no result and no checkpoint (see compute)."""

    id = IdField("att")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    runner = models.CharField(max_length=120, blank=True)
    device = models.CharField(max_length=120, blank=True)
    resumed_from_step = models.BigIntegerField(null=True)
    started = models.DateTimeField(null=True)
    last_checkpoint = models.DateTimeField(null=True)
    last_step = models.BigIntegerField(null=True)  # of that checkpoint
    ended = models.DateTimeField(null=True)
    # "succeeded", "failed", "cancelled" or "interrupted", and why.
    outcome = models.CharField(max_length=12, blank=True)
    reason = models.CharField(max_length=400, blank=True)
    lost_seconds = models.FloatField(default=0.0)
    devices = models.PositiveSmallIntegerField(default=1)

    class Meta:
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "number"], name="one_attempt_per_number")]

    def __str__(self) -> str:
        return f"{self.job_id} #{self.number}"

    def seconds(self, job: Job, now: datetime) -> float:
        """How long it has run, up to now where it still does. One that was never closed counts nothing."""
        if self.started is None:
            return 0.0
        running = job.state == Job.State.RUNNING and self.number == job.attempt
        end = self.ended or (now if running else self.started)
        return max(0.0, (end - self.started).total_seconds())

    @property
    def got_further(self) -> bool:
        """Whether it stored a checkpoint beyond the one that it began with."""
        return self.last_step is not None and self.last_step > (self.resumed_from_step or 0)


class JobEvent(models.Model):
    """An applied event, in order of application: what the live page and the event stream show."""

    # The position for Last-Event-ID.
    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    attempt = models.PositiveIntegerField()
    seq = models.BigIntegerField()
    type = models.CharField(max_length=12)
    time = models.DateTimeField()
    data = models.JSONField()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "attempt", "seq"], name="each_event_applied_once")
        ]
        indexes: ClassVar = [models.Index(fields=["job", "id"])]

    def __str__(self) -> str:
        return f"{self.job_id} {self.attempt}/{self.seq} {self.type}"


class MetricPoint(models.Model):
    """A value of a metric series at a step. A resumed attempt overwrites what came after its checkpoint."""

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="metric_points")
    name = models.CharField(max_length=80)
    step = models.BigIntegerField()
    value = models.FloatField()

    class Meta:
        ordering: ClassVar = ["name", "step"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "name", "step"], name="one_value_per_step")]

    def __str__(self) -> str:
        return f"{self.name}[{self.step}] = {self.value}"


class Trial(models.Model):
    """A setting that a job's search tries, as its runner last told it."""

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        COMPLETE = "complete", _("Complete")
        PRUNED = "pruned", _("Given up")
        STOPPED = "stopped", _("Out of time")
        FAILED = "failed", _("Failed")

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="trials")
    number = models.PositiveIntegerField()
    parameters = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State.choices)
    # The template's main metric on the validation rows; its course as [[epoch from 0, score], …].
    score = models.FloatField(null=True)
    scores = models.JSONField(default=list)
    seconds = models.FloatField(default=0.0)
    reason = models.CharField(max_length=400, blank=True)
    # When this was said: what was said earlier changes nothing.
    told = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "number"], name="one_trial_per_number")]

    def __str__(self) -> str:
        return f"{self.job_id} trial {self.number}"
