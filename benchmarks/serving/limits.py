"""How exactly limits hold over two serving processes under a flood: what they let in beyond them, and for how long.

    python benchmarks/serving/limits.py [--seconds 4] [--rounds 3] [--rate 500] [--quota 3000]

Each process has an address of its own and half of the connections, so that neither sees more than half of the flood.
A rate: the most that at any moment had been let in beyond a burst of one second and what the rate allows since; and
until when that was more than a fifth of a second of it. A quota: what was let in beyond it, and for how long after it
was used up. The last one is taken away by the control plane under the flood: what was let in after that was published.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.load import Connection, Seen
from benchmarks.serving.servers import Table, home_and_control, json_of, machine, request_of, serving_quietly
from tests.serving.running import Control, Serving, until
from workers.contracts import names
from workers.contracts.snapshot import ServingStatus

CONNECTIONS = 32


@dataclass
class Flood:
    """Connections that ask again as soon as they are answered; when each 200 came, by `perf_counter`."""

    seconds: float
    let_in: list[float] = field(default_factory=list)
    began: float = 0.0

    async def run(self, requests: list[tuple[int, bytes]]) -> None:
        """Ask on as many connections to each of some ports."""
        loop = asyncio.get_running_loop()
        asking = []
        for port, request in requests * (CONNECTIONS // len(requests)):
            made = await loop.create_connection(partial(self._connection, request), "127.0.0.1", port)
            asking.append((made[1], request))
        self.began = time.perf_counter()
        for connection, request in asking:
            connection.send(request, self.began)
        await asyncio.wait([connection.done for connection, _ in asking], timeout=self.seconds + 30)

    def _connection(self, request: bytes) -> Connection:
        seen = Seen()

        def following(connection: Connection) -> None:
            now = time.perf_counter()
            if not seen.errors:
                self.let_in.append(now)
            seen.errors.clear()
            if now < self.began + self.seconds:
                connection.send(request, now)
            else:
                connection.transport.close()

        return Connection(seen, following)


@dataclass
class Pair:
    """Two serving processes and their control plane."""

    control: Control
    bundle: Path
    processes: list[Serving]

    def endpoint(self, slug: str, rate: float | None = None, quota: int | None = None) -> str:
        """A new endpoint that both can answer; its id."""
        route = self.control.add_route(slug, self.bundle, rate_limit=rate)
        if quota is not None:
            self.control.requests_left[route.endpoint] = quota
        version, client = self.control.publish(), self.control.client

        def known() -> bool:
            told = [client.get(key) for key in client.keys(names.serving_key("*"))]
            found = [ServingStatus.model_validate_json(text) for text in told if text]
            states = {state for one in found for state in one.revisions.values()}
            return [one.version for one in found] == [version] * len(self.processes) and states == {"ready"}

        until(known, 60)
        return route.endpoint

    def flood(self, slug: str, key: str, seconds: float) -> Flood:
        """Ask an endpoint of both."""
        flood, path, body = Flood(seconds), f"/v1/endpoints/{slug}/predict", json_of(models.TEXT)
        uvloop.run(flood.run([(one.port, request_of(one.port, path, body, key)) for one in self.processes]))
        return flood


@contextlib.contextmanager
def two() -> Iterator[Pair]:
    """On one Redis, each with a port of its own."""
    with contextlib.ExitStack() as stack:
        home, control, redis_url = stack.enter_context(home_and_control())
        control.publish()
        processes = [stack.enter_context(serving_quietly(home, redis_url)) for _ in range(2)]
        yield Pair(control, models.text_bundle(home / "text.zip"), processes)


def of_rate(flood: Flood, rate: float) -> tuple[int, float, float]:
    """Let in; the most beyond the limit at any moment; seconds until it was never again more than a fifth of a second
    of the rate."""
    beyond = [number - rate * (1 + at - flood.began) for number, at in enumerate(flood.let_in, 1)]
    times = [at for over, at in zip(beyond, flood.let_in, strict=True) if over > rate / 5]
    return len(flood.let_in), max(beyond), max(times, default=flood.began) - flood.began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--quota", type=int, default=3000)
    options = parser.parse_args()
    print(machine())
    found: dict[str, list[tuple[int, float, float]]] = {}
    with two() as pair:
        key = pair.control.add_key()
        for number in range(options.rounds):
            pair.endpoint(f"rate-{number}", rate=options.rate)
            rated = of_rate(pair.flood(f"rate-{number}", key, options.seconds), options.rate)
            found.setdefault(f"{options.rate:g} a second", []).append(rated)
            pair.endpoint(f"quota-{number}", quota=options.quota)
            times = pair.flood(f"quota-{number}", key, options.seconds).let_in
            over = (len(times), len(times) - options.quota, times[-1] - times[min(len(times), options.quota) - 1])
            found.setdefault(f"{options.quota} in all", []).append(over)
            found.setdefault("taken away", []).append(taken_away(pair, f"taken-{number}", key, options.seconds))
            pair.control.client.xtrim(names.STREAM_USAGE, maxlen=0)
    title = f"Two processes, {CONNECTIONS} connections: medians of the rounds, and the most"
    table = Table(title, "limit       ", "let in", "beyond it", "most", "for ms", "longest")
    for name, rounds in found.items():
        let_in, beyond, late = ([one[place] for one in rounds] for place in range(3))
        table.row(
            *(name, round(statistics.median(let_in)), round(statistics.median(beyond)), round(max(beyond))),
            *(round(statistics.median(late) * 1e3), round(max(late) * 1e3)),
        )


def taken_away(pair: Pair, slug: str, key: str, seconds: float) -> tuple[int, float, float]:
    """Let in; how many of them after the quota was taken away; and for how long."""
    endpoint, published = pair.endpoint(slug, quota=10**9), list[float]()

    def take() -> None:
        time.sleep(seconds / 2)
        pair.control.requests_left[endpoint] = 0
        published.append(time.perf_counter())
        pair.control.publish()

    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(take)
        times = pair.flood(slug, key, seconds).let_in
        taking.result()
    return len(times), sum(at > published[0] for at in times), max(0.0, times[-1] - published[0])


if __name__ == "__main__":
    main()
