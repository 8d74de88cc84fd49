"""How many usage records this process has made: the gateway's own count, which the ledger is compared with."""

from typing import Final

from workers.contracts.snapshot import GatewayCount

# Minutes that are remembered: a clock that is set back by less gives no number twice.
_KEPT: Final = 15
# Minutes that are told every second.
_TOLD: Final = 3


class Counts:
    """Numbers records from 1 per team and minute."""

    def __init__(self) -> None:
        self._numbered: dict[tuple[int, str], int] = {}
        self._unwritten: dict[tuple[int, str], int] = {}
        self._minute = 0

    def number(self, team: str, time: float) -> int:
        """The number of a team's next record, made at `time` (seconds since the epoch)."""
        minute = int(time // 60)
        if minute > self._minute:
            self._minute = minute
            self._forget()
        place = (minute, team)
        number = self._numbered[place] = self._numbered.get(place, 0) + 1
        return number

    def note_unwritten(self, team: str, time: float) -> None:
        """A numbered record was written nowhere, and its client told so."""
        place = (int(time // 60), team)
        self._unwritten[place] = self._unwritten.get(place, 0) + 1

    def told(self) -> list[GatewayCount]:
        """The counts of the last minutes."""
        return [
            GatewayCount(team=team, minute=minute, numbered=count, unwritten=self._unwritten.get((minute, team), 0))
            for (minute, team), count in self._numbered.items()
            if minute > self._minute - _TOLD
        ]

    def _forget(self) -> None:
        oldest = self._minute - _KEPT
        for counts in (self._numbered, self._unwritten):
            for place in [place for place in counts if place[0] < oldest]:
                del counts[place]
