"""Batch predictions: files that a model answers row by row."""

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.ids import IdField

if TYPE_CHECKING:
    from apps.teams.models import User


class PredictionQuerySet(models.QuerySet["Prediction"]):
    def visible_to(self, user: "User") -> "PredictionQuerySet":
        """Those of the user's teams."""
        return self.filter(project__team__memberships__user=user)


class Prediction(models.Model):
    """A file and its answers. How far it is, its job says; a retry gives it another job."""

    class Format(models.TextChoices):
        CSV = "csv", _("CSV")
        JSON_LINES = "jsonl", _("JSON Lines")
        PARQUET = "parquet", _("Parquet")

    id = IdField("prd")
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="predictions")
    job = models.OneToOneField("training.Job", on_delete=models.PROTECT, related_name="prediction")
    # Ids of the jobs that a retry followed: what they left is kept, and deleted, with the prediction.
    earlier_jobs = models.JSONField(default=list)
    model = models.ForeignKey("registry.ModelVersion", on_delete=models.PROTECT, related_name="predictions")
    # Whose usage it is, where it was asked of an endpoint: its model at that time answers, whatever comes later.
    endpoint = models.ForeignKey("endpoints.Endpoint", on_delete=models.SET_NULL, null=True, related_name="predictions")
    revision = models.ForeignKey("endpoints.Revision", on_delete=models.SET_NULL, null=True, related_name="+")
    # Of the model, which answers in its place; empty: the model itself.
    variant = models.CharField(max_length=10, blank=True, default="")
    source_key = models.CharField(max_length=200)
    source_name = models.CharField(max_length=255)
    source_bytes = models.BigIntegerField()
    mapping = models.JSONField(default=dict)
    # How the file is to be read (FileOptions), as far as somebody said so.
    options = models.JSONField(default=dict)
    # Of the answers; empty: that of the file.
    format = models.CharField(max_length=10, choices=Format.choices, blank=True)
    scores = models.BooleanField(default=False)
    k = models.PositiveSmallIntegerField(null=True)
    # Filled from BatchResult when the job has succeeded.
    rows = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    seconds = models.FloatField(default=0.0)
    columns = models.JSONField(default=list)
    labels = models.JSONField(default=dict)
    preview = models.JSONField(default=dict)
    result_key = models.CharField(max_length=200, blank=True)
    result_sha256 = models.CharField(max_length=64, blank=True)
    result_bytes = models.BigIntegerField(default=0)
    # When file and answers were deleted, as they are some time after the job's end.
    forgotten = models.DateTimeField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    objects = PredictionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created"]
        indexes: ClassVar = [models.Index(fields=["project", "-created"])]

    def __str__(self) -> str:
        return self.source_name

    @property
    def has_result(self) -> bool:
        """Whether the answers can be downloaded."""
        return bool(self.result_key) and self.forgotten is None

    @property
    def result_name(self) -> str:
        """What the answered file is called for its owner."""
        stem = self.source_name.rsplit(".", 1)[0] or self.source_name
        return f"{stem} predicted.{self.result_key.rsplit('.', 1)[-1]}"
