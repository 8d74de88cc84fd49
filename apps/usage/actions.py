"""What changes how much a team may use."""

from collections.abc import Sequence

from django.db import transaction

from apps.core import audit
from apps.endpoints.models import Endpoint
from apps.endpoints.publish import publish_on_commit
from apps.teams.access import require
from apps.teams.models import ApiKey, Team, User
from apps.usage.models import Quota


@transaction.atomic
def change_limits(*, actor: User, team: Team, limits: Sequence[tuple[Endpoint | ApiKey | None, int | None]]) -> Team:
    """Let a team (None), or its endpoints and keys, have so many requests a month answered; None is any number.

    Owners.
    """
    require(actor, team.pk, "owner")
    for subject, most in limits:
        if subject is None:
            team.monthly_requests = most
            team.save(update_fields=["monthly_requests"])
        elif most is None:
            Quota.objects.filter(subject_id=subject.pk).delete()
        else:
            values = {"team": team, "monthly_requests": most}
            Quota.objects.update_or_create(subject_id=subject.pk, defaults=values)
        noun = subject or team
        audit.record(actor=actor, team=team, event="team.limits_changed", noun=noun, monthly_requests=most)
    publish_on_commit()
    return team
