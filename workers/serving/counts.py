"""How many usage records this process has made: the gateway's own count, which the ledger is compared with."""

from typing import Final

from workers.contracts.snapshot import GatewayCount

# Minutes that are remembered: a clock that is set back by less gives no number twice.
_KEPT: Final = 15
# Minutes that are told every second.
_TOLD: Final = 3

# A minute of the epoch, and a team.
Place = tuple[int, str]


def place_of(team: str, time: float) -> Place:
    """Where a record of a team is counted that is made at `time`, in seconds since the epoch."""
    return int(time) // 60, team


class Counts:
    """Numbers records from 1 in each place, and keeps what has become of them. `process` is who counts."""

    def __init__(self, process: str) -> None:
        self.process = process
        self._given: dict[Place, int] = {}
        self._settled: dict[Place, int] = {}
        self._unwritten: dict[Place, int] = {}
        self._minute = 0

    def number(self, place: Place) -> int:
        """The number of the next record."""
        if place[0] > self._minute:
            self._minute = place[0]
            self._forget()
        number = self._given[place] = self._given.get(place, 0) + 1
        return number

    def settle(self, place: Place, number: int, *, written: bool) -> None:
        """A record is safe; or it is written nowhere, and its client is told so."""
        self._settled[place] = max(number, self._settled.get(place, 0))
        if not written:
            self._unwritten[place] = self._unwritten.get(place, 0) + 1

    def told(self) -> list[GatewayCount]:
        """The counts of the last minutes, without what is still on its way: that may never arrive."""
        return [
            GatewayCount(team=place[1], minute=place[0], numbered=number, unwritten=self._unwritten.get(place, 0))
            for place, number in self._settled.items()
            if place[0] > self._minute - _TOLD
        ]

    def _forget(self) -> None:
        oldest = self._minute - _KEPT
        for counts in (self._given, self._settled, self._unwritten):
            for place in [place for place in counts if place[0] < oldest]:
                del counts[place]
