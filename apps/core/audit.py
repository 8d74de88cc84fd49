"""Writing the audit trail. Every action calls `record` once, inside its transaction."""

from typing import TYPE_CHECKING, Any

from django.db import models

from apps.core import request_id
from apps.core.models import AuditEntry

if TYPE_CHECKING:
    from apps.projects.models import Project
    from apps.teams.models import Team, User


def record(
    *,
    actor: "User | None",
    team: "Team",
    event: str,
    noun: models.Model,
    project: "Project | None" = None,
    **data: Any,
) -> AuditEntry:
    """Write down that `actor` (None: Slipway itself) did `event` ("noun.verb") to `noun`. `data`: JSON, no secrets."""
    return AuditEntry.objects.create(
        actor=actor,
        actor_email=actor.email if actor else "",
        team=team,
        project=project,
        event=event,
        noun_id=str(noun.pk),
        noun_name=str(noun)[:200],
        data=data,
        request_id=request_id.current(),
    )
