"""Does every count say the same? The gateway's own, the ledger's, the rollups', by the minute."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import TruncMinute
from django.utils import timezone

from apps.usage.models import GatewayCount, LedgerEntry, LedgerHour, MinuteRollup

# The longest period that is compared at once.
MAX_SPAN: Final = timedelta(days=31)
# What was answered in the last moments may not have been recorded yet.
_LAG: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of a team in a minute, or in a period, as each of the three has counted them."""

    gateway: int
    ledger: int
    rollup: int

    @property
    def agree(self) -> bool:
        return self.gateway == self.ledger == self.rollup

    @property
    def difference(self) -> int:
        """The counts that are furthest apart, in requests."""
        found = (self.gateway, self.ledger, self.rollup)
        return max(found) - min(found)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A period of whole minutes, the sums, and each minute in which they are not the same.

    `exported` are the ledger entries of the period's hours that are in Parquet files, `exportable` all of them.
    """

    start: datetime
    end: datetime
    total: Counts
    differing: list[tuple[datetime, Counts]]
    exported: int
    exportable: int

    @property
    def agrees(self) -> bool:
        return not self.differing


def settled(now: datetime | None = None) -> datetime:
    """The end of the last minute whose requests have all been recorded, where nothing is amiss."""
    return ((now or timezone.now()) - _LAG).replace(second=0, microsecond=0)


def reconcile(team_id: str, start: datetime, end: datetime) -> Reconciliation:
    """Compare what was answered from `start` to before `end`, in whole minutes that are over."""
    start = start.replace(second=0, microsecond=0)
    end = max(start, min(end.replace(second=0, microsecond=0), settled()))
    gateway, ledger, rollup = _gateway(team_id, start, end), _ledger(team_id, start, end), _rollup(team_id, start, end)
    differing = []
    for minute in sorted({*gateway, *ledger, *rollup}):
        counts = Counts(gateway[minute], ledger[minute], rollup[minute])
        if not counts.agree:
            differing.append((minute, counts))
    hours = LedgerHour.objects.filter(team_id=team_id, hour__gte=start.replace(minute=0), hour__lt=end)
    files = hours.aggregate(exported=Sum("exported"), entries=Sum("entries"))
    return Reconciliation(
        start=start,
        end=end,
        total=Counts(gateway.total(), ledger.total(), rollup.total()),
        differing=differing,
        exported=files["exported"] or 0,
        exportable=files["entries"] or 0,
    )


def _gateway(team_id: str, start: datetime, end: datetime) -> Counter[datetime]:
    """What the serving processes numbered and could write, and what others wrote, who number nothing."""
    counts = GatewayCount.objects.filter(team_id=team_id, minute__gte=start, minute__lt=end)
    found = _by_minute(counts.values("minute").annotate(count=Sum(F("numbered") - F("unwritten"))))
    others = _entries(team_id, start, end).filter(number=0).annotate(minute=TruncMinute("time"))
    return found + _by_minute(others.values("minute").annotate(count=Count("pk")).order_by())


def _ledger(team_id: str, start: datetime, end: datetime) -> Counter[datetime]:
    entries = _entries(team_id, start, end).annotate(minute=TruncMinute("time"))
    return _by_minute(entries.values("minute").annotate(count=Count("pk")).order_by())


def _rollup(team_id: str, start: datetime, end: datetime) -> Counter[datetime]:
    rows = MinuteRollup.objects.filter(team_id=team_id, minute__gte=start, minute__lt=end)
    return _by_minute(rows.values("minute").annotate(count=Sum("requests")).order_by())


def _entries(team_id: str, start: datetime, end: datetime) -> QuerySet[LedgerEntry]:
    return LedgerEntry.objects.filter(team_id=team_id, time__gte=start, time__lt=end)


def _by_minute(rows: Iterable[Any]) -> Counter[datetime]:
    return Counter({row["minute"]: row["count"] for row in rows})
