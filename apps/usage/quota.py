"""The monthly quota: how much of it a team has used, from the same ledger sums that the usage page shows."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from apps.core import audit
from apps.teams import mail
from apps.teams.models import Team
from apps.usage.models import MinuteRollup, QuotaNotice

# The shares of the quota, in per cent, at which a team is told.
WARN_AT: Final = (80, 100)


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


def reached(used: int, limit: int) -> int | None:
    """The highest share of WARN_AT that has been used; None below the first."""
    return max((percent for percent in WARN_AT if used * 100 >= limit * percent), default=None)


def warn() -> int:
    """Tell each team once a month that it has reached a share of its quota; how many were told.

    Who reaches 100 % at once is told only that. A limit that is changed is another quota.
    """
    limited = {team.pk: team for team in Team.objects.filter(monthly_requests__isnull=False)}
    used = used_this_month(list(limited))
    told = 0
    for team_id, count in used.items():
        team = limited[team_id]
        percent = reached(count, team.monthly_requests or 0)
        if percent is not None:
            told += _tell(team, percent, count)
    return told


def _tell(team: Team, percent: int, used: int) -> bool:
    """Write the notice down, with a line in the audit log, and mail it; False where that has been done."""
    limit = team.monthly_requests or 0
    known = QuotaNotice.objects.filter(team=team, month=month_start().date(), limit=limit)
    if known.filter(percent__gte=percent).exists():
        return False
    with transaction.atomic():
        _, is_new = QuotaNotice.objects.get_or_create(
            team=team, month=month_start().date(), percent=percent, limit=limit
        )
        if not is_new:
            return False
        event = "team.quota_used_up" if percent >= 100 else "team.quota_nearly_used_up"
        audit.record(actor=None, team=team, event=event, noun=team, percent=percent, used=used, limit=limit)
        link = f"{settings.SLIPWAY_URL}/teams/{team.pk}/usage"
        transaction.on_commit(partial(mail.send_quota_notice, team, percent=percent, limit=limit, link=link))
    return True


def notice_of(team: Team) -> QuotaNotice | None:
    """What the team was last warned of this month, under the limit that it has now."""
    if team.monthly_requests is None:
        return None
    notices = QuotaNotice.objects.filter(team=team, month=month_start().date(), limit=team.monthly_requests)
    return notices.order_by("-percent").first()
