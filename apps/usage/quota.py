"""Monthly quotas of teams, endpoints and keys: how much is used, from the same sums that the usage page shows."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from apps.core import audit
from apps.endpoints.models import Endpoint
from apps.teams import mail
from apps.teams.models import ApiKey, Team
from apps.usage.models import MinuteRollup, Quota, QuotaNotice

# The shares of a quota, in per cent, at which a team is told.
WARN_AT: Final = (80, 100)


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a quota is used this month. The subject is "" for the whole team, else an endpoint's or key's id."""

    team: Team
    subject: str
    limit: int
    used: int

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def reached(self) -> int | None:
        """The highest share of WARN_AT that has been used; None below the first."""
        return max((percent for percent in WARN_AT if self.used * 100 >= self.limit * percent), default=None)


def month_start(now: datetime | None = None) -> datetime:
    """The first moment of the calendar month in UTC."""
    return (now or timezone.now()).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def used_this_month(team_ids: Sequence[str]) -> dict[str, int]:
    """Answered requests per team since the month began.

    Refusals do not count: strangers without a key would use up the quota.
    """
    return _sums("team_id", team_ids)


def uses(team: Team | None = None) -> list[Use]:
    """Every quota there is, or every quota of a team, the team's own first."""
    teams = Team.objects.filter(monthly_requests__isnull=False)
    quotas = Quota.objects.select_related("team").order_by("subject_id")
    if team is not None:
        teams, quotas = teams.filter(pk=team.pk), quotas.filter(team=team)
    limited, subjects = list(teams), [quota.subject_id for quota in quotas]
    owners = {"team_id__in": {quota.team_id for quota in quotas}}  # there is an index by team
    used = {
        **used_this_month([one.pk for one in limited]),
        **_sums("endpoint_id", subjects, **owners),
        **_sums("key_id", subjects, **owners),
    }
    whole = [Use(one, "", one.monthly_requests or 0, used.get(one.pk, 0)) for one in limited]
    single = [Use(one.team, one.subject_id, one.monthly_requests, used.get(one.subject_id, 0)) for one in quotas]
    return whole + single


def _sums(field: str, ids: Sequence[str], **where: Collection[str]) -> dict[str, int]:
    if not ids:
        return {}
    rows = MinuteRollup.objects.filter(**{f"{field}__in": ids}, **where, minute__gte=month_start(), status__lt=400)
    return {row[field]: row["total"] for row in rows.values(field).annotate(total=Sum("requests"))}


def _object(subject: str) -> Endpoint | ApiKey | None:
    return Endpoint.objects.filter(pk=subject).first() or ApiKey.objects.filter(pk=subject).first()


def warn() -> int:
    """Tell each team once a month that a share of a quota is used; how many warnings.

    Where 100 % are reached at once, only that is told. A limit that is changed is another quota.
    """
    return sum(_tell(use, use.reached) for use in uses() if use.reached is not None)


def _tell(use: Use, percent: int) -> bool:
    """Write the notice down, with a line in the audit log, and mail it; False where that has been done."""
    if _notices(use.team, [use]).filter(percent__gte=percent).exists():
        return False
    subject = _object(use.subject) if use.subject else None
    name = subject.name if subject else use.subject
    with transaction.atomic():
        _, is_new = QuotaNotice.objects.get_or_create(
            team=use.team,
            subject_id=use.subject,
            month=month_start().date(),
            percent=percent,
            limit=use.limit,
            defaults={"subject_name": name},
        )
        if not is_new:
            return False
        event = "team.quota_used_up" if percent >= 100 else "team.quota_nearly_used_up"
        noun = subject or use.team
        audit.record(actor=None, team=use.team, event=event, noun=noun, percent=percent, used=use.used, limit=use.limit)
        link = f"{settings.SLIPWAY_URL}/teams/{use.team.pk}/usage"
        send = partial(mail.send_quota_notice, use.team, subject=name, percent=percent, limit=use.limit, link=link)
        transaction.on_commit(send, robust=True)
    return True


def notices_of(team: Team) -> list[QuotaNotice]:
    """What the team has been told this month of the limits that it has now: of each the highest share."""
    limits = [Use(team, "", team.monthly_requests, 0)] if team.monthly_requests is not None else []
    limits += [Use(team, one.subject_id, one.monthly_requests, 0) for one in Quota.objects.filter(team=team)]
    if not limits:
        return []
    found = {notice.subject_id: notice for notice in _notices(team, limits).order_by("percent")}
    return [found[subject] for subject in sorted(found)]


def _notices(team: Team, limits: Iterable[Use]) -> QuerySet[QuotaNotice]:
    """The notices of this month about any of these limits."""
    of_limits = Q()
    for use in limits:
        of_limits |= Q(subject_id=use.subject, limit=use.limit)
    return QuotaNotice.objects.filter(of_limits, team=team, month=month_start().date())
