"""Computing time: seconds that became of use, seconds that were lost, and what they cost.

A second is lost when its work is in no result and in no checkpoint that is gone on from. Lost seconds are never part of
a cost.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Case, Count, DurationField, ExpressionWrapper, F, QuerySet, Sum, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.training.models import Attempt, Job
from workers.contracts import names
from workers.contracts.errors import UserError

_HOUR = Decimal(3600)


@dataclass(frozen=True, slots=True)
class Seconds:
    """Device seconds: those of a job on two devices count twice."""

    useful: float = 0.0
    lost: float = 0.0

    def as_json(self) -> dict[str, float]:
        """Both, rounded to tenths."""
        return {"useful": round(self.useful, 1), "lost": round(self.lost, 1)}


def seconds_of(job: Job, now: datetime | None = None) -> Seconds:
    """All attempts of a job together, the running one up to now."""
    useful = lost = 0.0
    for attempt in job.attempts.all():
        seconds = attempt.seconds(job, now or timezone.now())
        useful += max(0.0, seconds * attempt.devices - attempt.lost_seconds)
        lost += attempt.lost_seconds
    return Seconds(useful, lost)


def price_of(queue: str) -> Decimal | None:
    """What one device of a queue costs per hour; None where the operator has set no price."""
    prices: dict[str, Decimal | None] = {"gpu": settings.SLIPWAY_GPU_HOUR_PRICE, "cpu": settings.SLIPWAY_CPU_HOUR_PRICE}
    return prices["gpu" if queue.startswith(names.QUEUE_TRAIN_GPU) else "cpu"]


def cost_of(useful_seconds: float, price: Decimal | None) -> Decimal | None:
    """What useful seconds cost, to four places; None without a price."""
    return None if price is None else (price * Decimal(useful_seconds) / _HOUR).quantize(Decimal("0.0001"))


def limits(queue: str, devices: int, minutes: float | None, cost: Decimal | None) -> dict[str, Any]:
    """The fields of a new job that say what it may take: the tighter one of its limits of time and of cost, in seconds.

    Raises UserError `invalid` for a cost limit where no price is known.
    """
    price = price_of(queue)
    allowed = [] if minutes is None else [minutes * 60]
    if cost is not None:
        if not price:
            message = _("No price is set for computing time here: only a time limit can be kept.")
            raise UserError("invalid", message, fields=[{"field": "limits.cost", "message": message}])
        allowed.append(float(cost / price * _HOUR) / devices)
    fields: dict[str, Any] = {"price_per_hour": price, "cost_limit": cost}
    return {**fields, "time_limit_s": max(1, int(min(allowed)))} if allowed else fields


_SPAN = ExpressionWrapper((F("ended") - F("started")) * F("devices"), output_field=DurationField())


def report(attempts: QuerySet[Attempt]) -> list[dict[str, Any]]:
    """Ended attempts by project and kind of device: jobs, useful and lost seconds, cost."""
    rows = (
        attempts.filter(ended__isnull=False, started__isnull=False)
        .annotate(kind=Case(When(device__startswith="cuda", then=Value("gpu")), default=Value("cpu")), span=_SPAN)
        .values("kind", "job__project_id", "job__project__name", "job__price_per_hour")
        .annotate(jobs=Count("job", distinct=True), total=Sum("span"), lost=Sum("lost_seconds"))
        .order_by("job__project__name", "kind")
    )
    return _merged(rows)


def _merged(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per project and kind, whatever prices its jobs had."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        useful = max(0.0, row["total"].total_seconds() - row["lost"])
        cost = cost_of(useful, row["job__price_per_hour"])
        empty = {"jobs": 0, "useful_seconds": 0.0, "lost_seconds": 0.0, "cost": None}
        place = found.setdefault(
            (row["job__project_id"], row["kind"]),
            {"project": row["job__project_id"], "name": row["job__project__name"], "device": row["kind"], **empty},
        )
        place["jobs"] += row["jobs"]
        place["useful_seconds"] = round(place["useful_seconds"] + useful, 1)
        place["lost_seconds"] = round(place["lost_seconds"] + row["lost"], 1)
        if cost is not None:
            place["cost"] = (place["cost"] or Decimal(0)) + cost
    return list(found.values())
