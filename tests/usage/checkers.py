"""What must hold after any fault: U1, every received answer is in the ledger once, as it was; U2, nothing else is;
U3, the sums are the ledger's."""

from collections import Counter
from collections.abc import Iterable

from apps.usage import reports
from apps.usage.histogram import histogram
from apps.usage.models import LedgerEntry, MinuteRollup


def check_ledger(received: Iterable[tuple[str, int]], *, broken: int = 0) -> None:
    """U1 and U2. `received` are (request id, status) as clients saw them; `broken` requests got no answer."""
    seen = dict(received)
    ledger = dict(LedgerEntry.objects.values_list("request_id", "status"))
    assert {request_id: ledger.get(request_id) for request_id in seen} == seen
    unknown = set(ledger) - set(seen)
    assert len(unknown) <= broken, f"{len(unknown)} entries that nobody received, {broken} connections broke"


def check_sums() -> None:
    """U3: rollups and reports equal the ledger."""
    sums: Counter[tuple[object, ...]] = Counter()
    items: Counter[tuple[object, ...]] = Counter()
    latencies: dict[tuple[object, ...], list[int]] = {}
    for entry in LedgerEntry.objects.all():
        minute = entry.time.replace(second=0, microsecond=0)
        group = (minute, entry.team_id, entry.endpoint_id, entry.model_id, entry.key_id, entry.status)
        sums[group] += 1
        items[group] += entry.items
        latencies.setdefault(group, []).append(entry.latency_us)
    rollups = {
        (row.minute, row.team_id, row.endpoint_id, row.model_id, row.key_id, row.status): row
        for row in MinuteRollup.objects.all()
    }
    assert {group: row.requests for group, row in rollups.items()} == dict(sums)
    assert {group: row.items for group, row in rollups.items()} == dict(items)
    for group, row in rollups.items():
        assert row.latency_histogram == histogram(latencies[group])
    for step in reports.STEPS:
        shown = reports.usage(reports.rollups(), by=step, group="status")
        assert sum(row["requests"] for row in shown) == sum(sums.values())
