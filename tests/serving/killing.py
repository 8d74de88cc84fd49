"""SIGKILL of serving, recorder, Redis and Postgres at random moments under load; then every answer is looked for."""

import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import F, Sum

from apps.usage.models import GatewayCount, LedgerEntry, MinuteRollup
from tests.serving.clients import Seen
from tests.serving.conftest import Stage
from tests.serving.recording import Recording, caught_up
from tests.serving.running import OwnServer, until
from workers.contracts import names
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

    `unreceived` entries are of requests whose connection broke, at most `broken`. `gateway` is what the serving
    processes say that they have recorded, `ledger` and `rollup` are the other two counts.
    """

    received: int
    lost: int
    double: int
    unreceived: int
    broken: int
    gateway: int
    ledger: int
    rollup: int

    @property
    def exact(self) -> bool:
        agree = self.gateway == self.ledger == self.rollup
        return agree and not self.lost and not self.double and self.unreceived <= self.broken


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
            killed = [turns.pop()]
            if self.rng.random() < _BOTH:
                killed.append(self.rng.choice([name for name in processes if name not in killed]))
            self._answers(self.rng.randint(50, 600))
            yield self._kill(killed)

    def _kill(self, killed: Sequence[str]) -> Kill:
        if "recorder" in killed:
            self._recorder_works()
        started, before, broken = time.monotonic(), len(self.seen.answers), self.seen.broken
        for name in killed:
            self._end(name)
        if "serving" in killed:
            until(lambda: self.seen.broken > broken + self.rng.randint(1, 20), 60)
        else:
            self._answers(self.rng.randint(20, 400))
        for name in self.rng.sample(killed, len(killed)):
            self._start(name)
        self._answers(50)
        return Kill(
            killed=tuple(killed),
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

    def _recorder_works(self) -> None:
        """Wait until the recorder is in the midst of it: it removes from the stream what it has applied."""
        client = self.stage.control.client
        first = client.xinfo_stream(names.STREAM_USAGE)["first-entry"]
        until(lambda: client.xinfo_stream(names.STREAM_USAGE)["first-entry"] != first, 60)

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
    rollup = MinuteRollup.objects.aggregate(sum=Sum("requests"))["sum"] or 0
    gateway = GatewayCount.objects.aggregate(sum=Sum(F("numbered") - F("unwritten")))["sum"] or 0
    return Result(
        received=len(received),
        lost=sum(ledger.get(request_id) != status for request_id, status in received.items()),
        double=abs(rollup - len(ledger)) + len(seen.answers) - len(received),
        unreceived=len(set(ledger) - set(received)),
        broken=seen.broken + seen.uncounted,
        gateway=gateway,
        ledger=len(ledger),
        rollup=rollup,
    )
