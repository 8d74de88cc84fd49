"""What changes how much a team may use."""

from django.db import transaction

from apps.core import audit
from apps.endpoints.models import Endpoint
from apps.endpoints.publish import publish_soon
from apps.teams.access import require
from apps.teams.models import ApiKey, Team, User
from apps.usage.models import Quota


@transaction.atomic
def change_limit(
    *, actor: User, team: Team, monthly_requests: int | None, subject: Endpoint | ApiKey | None = None
) -> Team:
    """Let a team, or one of its endpoints or keys, have so many requests a month answered; None is any number.

    Owners.
    """
    require(actor, team.pk, "owner")
    if subject is None:
        team.monthly_requests = monthly_requests
        team.save(update_fields=["monthly_requests"])
    elif monthly_requests is None:
        Quota.objects.filter(subject_id=subject.pk).delete()
    else:
        values = {"team": team, "monthly_requests": monthly_requests}
        Quota.objects.update_or_create(subject_id=subject.pk, defaults=values)
    noun = subject or team
    audit.record(actor=actor, team=team, event="team.limits_changed", noun=noun, monthly_requests=monthly_requests)
    transaction.on_commit(publish_soon, robust=True)
    return team
