"""Deploy, promote and roll back under full load: how many requests fail or are answered by the wrong model.

    python benchmarks/serving/rollout.py [--clients 200] [--swaps 30]

A real serving process with key, limits and metering on. Every client sends texts of its own and checks the answer by
the number of the model that gave it. Prints JSON: requests, errors, misrouted answers, and the milliseconds from the
publication of a change to the last answer by the model before.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from slipway import embedded  # noqa: E402
from tests.serving import bundles  # noqa: E402
from tests.serving.clients import asking  # noqa: E402
from tests.serving.running import Control, serving, until  # noqa: E402
from workers.contracts.snapshot import Shadow  # noqa: E402


def measure(home: Path, redis_url: str, clients: int, swaps: int) -> dict[str, Any]:
    """Exchange two models `swaps` times while the clients ask."""
    with contextlib.closing(redis.Redis.from_url(redis_url)) as client:
        control = Control(client, str(home / "storage"))
        route = control.add_route("reviews", bundles.text_bundle(home / "one.zip"))
        first = route.revisions[0]
        second = control.revision(bundles.text_bundle(home / "two.zip", flipped=True), number=2)
        shadow = Shadow(rollout="rol_" + "a" * 24, revision=second.revision, share=100)
        key = control.add_key()
        control.publish()
        late: list[float] = []
        with serving(home, redis_url) as running, asking(running.port, "reviews", key, clients=clients) as seen:
            until(lambda: len(seen.answers) > 5 * clients)
            started, before = time.monotonic(), len(seen.answers)
            for swap in range(swaps):
                # Every other time the second model answers; beside the first it gets copies of all requests.
                wanted = 2 - swap % 2
                shares = ((first, 100 * (wanted == 1)), (second, 100 * (wanted == 2)))
                revisions = [one.model_copy(update={"traffic": traffic}) for one, traffic in shares]
                control.replace(route, revisions=revisions, shadow=shadow if wanted == 1 else None)
                control.publish()
                published, position = time.monotonic(), len(seen.details)
                until(lambda: {row[2] for row in seen.details[-3 * clients :]} == {wanted}, 60)  # noqa: B023
                others = [row[0] for row in seen.details[position:] if row[2] != wanted]
                late.append(1000 * max(0.0, max(others, default=published) - published))
            elapsed, answered = time.monotonic() - started, len(seen.answers) - before
    bad = sum(status != 200 for status in seen.statuses().elements())
    return {
        "clients": clients,
        "swaps": swaps,
        "requests": answered,
        "per_second": round(answered / elapsed),
        "errors": bad + seen.broken,
        "misrouted": seen.wrong,
        "swap_ms": {"median": round(statistics.median(late), 1), "slowest": round(max(late), 1)},
    }


def main() -> None:
    """Measure with a Redis of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--swaps", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (server,) = embedded.prepare(home, postgres=False)
        with embedded.running(server, home / "redis.log") as redis_url:
            print(json.dumps(measure(home, redis_url, arguments.clients, arguments.swaps)))


if __name__ == "__main__":
    main()
