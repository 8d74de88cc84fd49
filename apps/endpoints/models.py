"""Endpoints and the revisions that answer on them."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.ids import IdField
from apps.registry.models import ModelVersion


class Endpoint(models.Model):
    """A stable address at which model versions answer."""

    id = IdField("end")
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="endpoints")
    name = models.CharField(_("name"), max_length=120)
    # The name in addresses, unique over all teams.
    slug = models.SlugField(max_length=80, unique=True)
    kind = models.CharField(max_length=20)
    template = models.CharField(max_length=40)
    # Requests per second over all keys; None is unlimited.
    rate_limit = models.FloatField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)
    # When the shares of the traffic were last changed.
    shares_since = models.DateTimeField(default=timezone.now)
    deleted = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return self.name

    @property
    def answering_model(self) -> ModelVersion | None:
        """The model that answers most requests."""
        revision = self.revisions.select_related("model__dataset_version").order_by("-traffic", "-number").first()
        return revision.model if revision else None

    def misfit(self, model: ModelVersion) -> str:
        """Why the callers of this address could not be answered by `model`; "" where they could."""
        answering = self.answering_model
        return answering.misfit(model) if answering else ""


class Revision(models.Model):
    """A model version at a share of an endpoint's traffic, in percent; an endpoint's shares sum to 100."""

    id = IdField("rev")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    model = models.ForeignKey("registry.ModelVersion", on_delete=models.PROTECT, related_name="revisions")
    # Which form of it answers: "" is the model itself, else a variant in its bundle, such as int8.
    variant = models.CharField(max_length=10, blank=True, default="")
    traffic = models.PositiveSmallIntegerField()
    # The share before the last change: what a rollback brings back.
    previous_traffic = models.PositiveSmallIntegerField(default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["endpoint", "number"], name="one_revision_per_number"),
            models.CheckConstraint(condition=models.Q(traffic__lte=100), name="traffic_is_a_percentage"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} r{self.number} {self.traffic} %"

    @property
    def certified(self) -> dict[str, Any] | None:
        """Size, latency and accuracy of its variant beside the model's own; None of the model itself."""
        return self.model.variant(self.variant) if self.variant else None


class RolloutQuerySet(models.QuerySet["Rollout"]):
    def judged(self) -> "RolloutQuerySet":
        """Those that run by a rule, on endpoints that live."""
        ruled = models.Q(max_error_percent__isnull=False) | models.Q(max_p99_ms__isnull=False)
        live = self.filter(ruled, state=Rollout.State.RUNNING, endpoint__deleted=None)
        return live.select_related("endpoint__project__team", "candidate")


class Rollout(models.Model):
    """A candidate on trial: from its deployment beside another model until it is promoted or taken back."""

    class State(models.TextChoices):
        RUNNING = "running", _("On trial")
        PROMOTED = "promoted", _("Promoted")
        ROLLED_BACK = "rolled_back", _("Rolled back")
        SUPERSEDED = "superseded", _("Superseded")

    id = IdField("rol")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="rollouts")
    candidate = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="rollouts")
    state = models.CharField(max_length=12, choices=State.choices, default=State.RUNNING)
    # The share of the requests that the candidate gets copies of, in percent.
    shadow = models.PositiveSmallIntegerField(default=0)
    # The rule (apps.endpoints.rollouts.Rule): over how many of its last answers it is judged, and by what.
    requests = models.PositiveIntegerField(default=100)
    max_error_percent = models.FloatField(null=True)
    max_p99_ms = models.FloatField(null=True)
    # Revision id → percent before it began: what a rollback brings back.
    before = models.JSONField(default=dict)
    # What of the rule was broken (apps.endpoints.rollouts.broken), where it was.
    broken = models.JSONField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    started = models.DateTimeField(default=timezone.now)
    ended = models.DateTimeField(null=True)

    objects = RolloutQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-started"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["endpoint"], condition=models.Q(state="running"), name="one_rollout_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.candidate_id} {self.state}"

    @property
    def has_rule(self) -> bool:
        return self.max_error_percent is not None or self.max_p99_ms is not None


class ShadowSum(models.Model):
    """What one serving process has seen of a rollout's copies (workers.contracts.shadow.ShadowTally): the newest."""

    id = models.BigAutoField(primary_key=True)
    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="shadow_sums")
    process = models.CharField(max_length=40)
    seq = models.PositiveBigIntegerField()
    copies = models.PositiveBigIntegerField()
    dropped = models.PositiveBigIntegerField()
    failed = models.PositiveBigIntegerField()
    items = models.PositiveBigIntegerField()
    agreed = models.FloatField()
    scored = models.PositiveBigIntegerField()
    score_difference = models.FloatField()
    answered_us = models.PositiveBigIntegerField()
    candidate_us = models.PositiveBigIntegerField()
    changes = models.JSONField(default=list)
    last = models.JSONField(default=list)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["rollout", "process"], name="one_shadow_sum_per_process")
        ]

    def __str__(self) -> str:
        return f"{self.rollout_id} {self.process}: {self.copies}"


class Feedback(models.Model):
    """The right answer to a prediction, told later by the client."""

    id = models.BigAutoField(primary_key=True)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="feedback")
    request_id = models.CharField(max_length=64)
    index = models.PositiveIntegerField()
    label = models.CharField(max_length=400)
    # All right ones, where an input may have several or none; else None.
    labels = models.JSONField(null=True)
    key = models.CharField(max_length=32)
    time = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["endpoint", "request_id", "index"],
                name="one_feedback_per_prediction",
            )
        ]

    def __str__(self) -> str:
        return f"{self.request_id}[{self.index}] = {self.label if self.labels is None else self.labels}"
