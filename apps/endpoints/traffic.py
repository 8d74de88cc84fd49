"""How an endpoint's traffic is shared among its revisions: as it is set, as it is changed, and as it was measured."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils import timezone

from apps.endpoints.models import Endpoint, Revision
from apps.usage.models import LedgerEntry
from workers.contracts.errors import UserError
from workers.contracts.usage import BATCH

# The last requests that the measured split is read from: noise is below half a percent by then.
_MEASURED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Split:
    """What the dice gave since the shares were set: revision id → share, over so many requests.

    Requests whose client named the revision do not count.
    """

    since: datetime
    requests: int
    shares: dict[str, float]


def measured(endpoint: Endpoint) -> Split:
    """The measured split, over the newest requests."""
    rows = LedgerEntry.objects.filter(endpoint_id=endpoint.pk, time__gte=endpoint.shares_since, pinned=False)
    # A file goes to one model whole: it is no part of what is split.
    rows = rows.exclude(revision_id="").exclude(key_id__startswith=BATCH)
    newest = rows.order_by("-time").values_list("revision_id", flat=True)[:_MEASURED]
    counts = Counter(newest)
    total = counts.total()
    shares = {revision: count / total for revision, count in counts.items()}
    return Split(endpoint.shares_since, total, shares)


def locked_revisions(endpoint: Endpoint) -> list[Revision]:
    """All revisions of an endpoint, held until the end of the transaction: two deployments at once take turns.

    Raises UserError `not_found` where the endpoint has been deleted meanwhile.
    """
    if not Endpoint.objects.select_for_update().filter(pk=endpoint.pk, deleted=None).exists():
        raise UserError("not_found")
    return list(Revision.objects.filter(endpoint=endpoint).order_by("number"))


def scaled(shares: list[int], whole: int) -> list[int]:
    """Whole shares in the old proportions that sum to `whole` (largest remainders get the rest)."""
    total = sum(shares)
    if total == 0:
        return [0 for _share in shares]
    exact = [share * whole / total for share in shares]
    floors = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: exact[i] - floors[i], reverse=True)
    for index in by_remainder[: whole - sum(floors)]:
        floors[index] += 1
    return floors


def set_shares(
    endpoint: Endpoint,
    revisions: list[Revision],
    shares: Mapping[str, int],
    previous: Mapping[str, int] | None = None,
) -> None:
    """Give each revision its share (by id; 0 where none is named), unless all have it already.

    `previous` is what a rollback brings back; by default the shares until now.
    """
    if all(row.traffic == shares.get(row.pk, 0) for row in revisions):
        return
    before = shares_of(revisions) if previous is None else previous
    for row in revisions:
        row.previous_traffic, row.traffic = before.get(row.pk, 0), shares.get(row.pk, 0)
        row.save(update_fields=["traffic", "previous_traffic"])
    endpoint.shares_since = timezone.now()
    endpoint.save(update_fields=["shares_since"])


def shares_of(revisions: list[Revision]) -> dict[str, int]:
    """Revision id → percent, as set."""
    return {row.pk: row.traffic for row in revisions}
