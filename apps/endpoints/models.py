"""Endpoints and the revisions that answer on them."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.ids import IdField


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
    deleted = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return self.name


class Revision(models.Model):
    """A model version at a share of an endpoint's traffic, in percent; an endpoint's shares sum to 100."""

    id = IdField("rev")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    model = models.ForeignKey("registry.ModelVersion", on_delete=models.PROTECT, related_name="revisions")
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


class Feedback(models.Model):
    """The right answer to a prediction, told later by the client."""

    id = models.BigAutoField(primary_key=True)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="feedback")
    request_id = models.CharField(max_length=64)
    index = models.PositiveIntegerField()
    label = models.CharField(max_length=400)
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
        return f"{self.request_id}[{self.index}] = {self.label}"
