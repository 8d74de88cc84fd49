"""The monthly quota: how much of it a team has used, from the same ledger sums that the usage page shows."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Sum
from django.utils import timezone

from apps.usage.models import MinuteRollup


def month_start(now: datetime | None = None) -> datetime:
    """The first moment of the calendar month in UTC."""
    return (now or timezone.now()).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def used_this_month(team_ids: Sequence[str]) -> dict[str, int]:
    """Answered requests per team since the month began.

    Refusals do not count: strangers without a key would use up the quota.
    """
    if not team_ids:
        return {}
    rows = MinuteRollup.objects.filter(team_id__in=team_ids, minute__gte=month_start(), status__lt=400)
    sums = rows.values("team_id").annotate(total=Sum("requests"))
    return {row["team_id"]: row["total"] for row in sums}
