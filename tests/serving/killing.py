"""SIGKILL of serving, recorder, Redis and Postgres at random moments under load; then every answer is looked for."""

import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Sum

from apps.usage.models import LedgerEntry, MinuteRollup
from tests.serving.clients import Seen
from tests.serving.conftest import Stage
from tests.serving.recording import Recording, caught_up
from tests.serving.running import OwnServer, until
from workers.serving import spool

# Two at once, now and then.
_BOTH: Final = 0.2


@dataclass(frozen=True)
class Kill:
    """What was killed, after how many answers, and what happened until all was well again."""

    killed: tuple[str, ...]
    answers: int
    away_s: float
    answers_meanwhile: int
    broken: int


@dataclass(frozen=True)
class Result:
    """Answers that clients received; of these missing or wrong in the ledger; counted more than once.

    `unreceived` entries are of requests whose connection broke, at most `broken`.
    """

    received: int
    lost: int
    double: int
    unreceived: int
    broken: int

    @property
    def exact(self) -> bool:
        return not self.lost and not self.double and self.unreceived <= self.broken


@dataclass
class Killer:
    """Kills processes, and starts them again. `servers` are those of "redis" and "postgres" that may be killed."""

    stage: Stage
    recorder: Recording
    servers: dict[str, OwnServer]
    seen: Seen
    rng: random.Random

    def kills(self, count: int) -> Iterator[Kill]:
        """Kill so many times: each process in its turn, in a new order each round."""
        processes, turns = ["serving", "recorder", *self.servers], list[str]()
        for _ in range(count):
            turns = turns or self.rng.sample(processes, len(processes))
            names = [turns.pop()]
            if self.rng.random() < _BOTH:
                names.append(self.rng.choice([name for name in processes if name not in names]))
            self._answers(self.rng.randint(50, 600))
            yield self._kill(names)

    def _kill(self, names: Sequence[str]) -> Kill:
        started, before, broken = time.monotonic(), len(self.seen.answers), self.seen.broken
        for name in names:
            self._end(name)
        if "serving" in names:
            until(lambda: self.seen.broken > broken + self.rng.randint(1, 20))
        else:
            self._answers(self.rng.randint(20, 400))
        for name in self.rng.sample(names, len(names)):
            self._start(name)
        self._answers(50)
        return Kill(
            killed=tuple(names),
            answers=before,
            away_s=time.monotonic() - started,
            answers_meanwhile=len(self.seen.answers) - before,
            broken=self.seen.broken - broken,
        )

    def _end(self, name: str) -> None:
        if name == "serving":
            self.stage.serving.stop(signal.SIGKILL)
        elif name == "recorder":
            self.recorder.stop(signal.SIGKILL)
        else:
            self.servers[name].kill()

    def _start(self, name: str) -> None:
        if name == "serving":
            self.stage.serving.process = self.stage.serving.again()
        elif name == "recorder":
            self.recorder.start()
        else:
            self.servers[name].start()

    def _answers(self, more: int) -> None:
        """Wait until clients have got so many more answers."""
        wanted = len(self.seen.answers) + more
        until(lambda: len(self.seen.answers) >= wanted, 60)


def all_recorded(stage: Stage) -> None:
    """Wait until every spool has been delivered and all of the stream applied."""
    folder = stage.serving.log.parent / "spool"
    until(lambda: not any(path.stat().st_size for path in spool.files(folder)), 60)
    until(lambda: caught_up(stage.control.client), 120)


def result(seen: Seen) -> Result:
    """Look for every answer in the ledger and in the sums."""
    ledger = dict(LedgerEntry.objects.values_list("request_id", "status"))
    received = dict(seen.answers)
    sums = MinuteRollup.objects.aggregate(requests=Sum("requests"))["requests"] or 0
    return Result(
        received=len(received),
        lost=sum(ledger.get(request_id) != status for request_id, status in received.items()),
        double=abs(sums - len(ledger)) + len(seen.answers) - len(received),
        unreceived=len(set(ledger) - set(received)),
        broken=seen.broken + seen.uncounted,
    )
