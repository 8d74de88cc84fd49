"""What the serving processes themselves have counted, to compare the ledger with.

Each numbers its records per team and minute, so the highest number is its count. It is known from the records, and told
by the living processes every second: a record that is lost shows either way.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from django.db import connection
from django.utils import timezone

from workers.contracts.snapshot import ServingStatus

# A process whose clock is further from ours than this is not believed.
_TOLERANCE: Final = timedelta(minutes=5)
_UPSERT: Final = """
INSERT INTO usage_gatewaycount AS old (process, team_id, minute, numbered, unwritten) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (team_id, minute, process) DO UPDATE SET
    numbered = greatest(old.numbered, excluded.numbered), unwritten = greatest(old.unwritten, excluded.unwritten)
WHERE old.numbered < excluded.numbered OR old.unwritten < excluded.unwritten
"""


class Place(NamedTuple):
    """Whose count, of which team, in which minute."""

    process: str
    team: str
    minute: datetime


class Count(NamedTuple):
    """Records that were numbered, and of these how many could be written nowhere (their clients were told so)."""

    numbered: int
    unwritten: int = 0


def note(counts: Mapping[Place, Count]) -> None:
    """Remember counts; of two for the same place the higher. In any order, any number of times."""
    with connection.cursor() as cursor:
        # Sorted: two writers at once take the rows' locks in the same order.
        cursor.executemany(_UPSERT, [(*place, *counts[place]) for place in sorted(counts)])


def note_told(processes: Iterable[ServingStatus]) -> None:
    """Remember what living processes have told."""
    now = timezone.now()
    told = {}
    for process in processes:
        for count in process.counts:
            minute = datetime.fromtimestamp(count.minute * 60, UTC)
            if abs(now - minute) <= _TOLERANCE:
                told[Place(process.process[:40], count.team[:32], minute)] = Count(count.numbered, count.unwritten)
    note(told)
