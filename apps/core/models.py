"""The audit trail: who did what to which object."""

from typing import ClassVar

from django.conf import settings
from django.db import models

from apps.core.ids import IdField


class AuditEntry(models.Model):
    """One write by one person. Kept when the person or the object is gone."""

    id = IdField("aud")
    team = models.ForeignKey("teams.Team", on_delete=models.CASCADE, related_name="audit_entries")
    project = models.ForeignKey("projects.Project", on_delete=models.SET_NULL, null=True, related_name="+")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    # The actor's address at the time, for when the account is gone.
    actor_email = models.CharField(max_length=254, blank=True)
    # What was done, "noun.verb": "dataset.created", "key.revoked".
    event = models.CharField(max_length=60)
    noun_id = models.CharField(max_length=32, blank=True)
    # What people read: the object's name at the time.
    noun_name = models.CharField(max_length=200, blank=True)
    data = models.JSONField(default=dict)
    request_id = models.CharField(max_length=64, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-created", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["team", "-created"]),
            models.Index(fields=["project", "-created"]),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.noun_name}"
