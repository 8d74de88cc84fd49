"""SIGKILLs of serving, recorder, Redis and Postgres at random moments under load: is any answer miscounted?

    python benchmarks/serving/kills.py [--kills 20] [--seed 1] [--clients 8]

Everything is real and of its own: Postgres, Redis, the recorder, a serving process with a small text model. Exits with
1 where an answer that a client received is missing from the ledger, or counted twice.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from tests.serving.running import OwnServer, own_server  # noqa: E402


def main() -> int:
    """Print a line per kill, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-kills-") as folder, contextlib.ExitStack() as stack:
        home = Path(folder)
        database = stack.enter_context(own_server(home, "postgres"))
        os.environ["DATABASE_URL"] = database.url
        os.environ |= {"SLIPWAY_HOME": folder, "SLIPWAY_EMBEDDED_DATABASE": "1", "REDIS_URL": "redis://127.0.0.1:1"}
        os.environ |= {"DJANGO_SETTINGS_MODULE": "slipway.settings"}
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])}
        subprocess.run([sys.executable, str(ROOT / "manage.py"), "migrate", "-v0"], env=environ, check=True)
        return measure(home, database, options)


def measure(home: Path, database: OwnServer, options: argparse.Namespace) -> int:
    """Kill, and count. The exit code."""
    import django

    django.setup()
    from django.db import connections

    from tests.serving import bundles
    from tests.serving.clients import asking
    from tests.serving.conftest import staged
    from tests.serving.killing import Killer, all_recorded, result
    from tests.serving.recording import recording

    for name in ("text", "image", "ranking"):
        getattr(bundles, f"{name}_bundle")(home / f"{name}.zip")
    started, rng = time.monotonic(), random.Random(options.seed)
    with (
        own_server(home / "redis-home", "redis") as redis,
        staged(home, redis.url, home) as stage,
        recording(redis.url, home / "recorder.log") as recorder,
    ):
        with asking(stage.serving.port, "reviews", stage.key, clients=options.clients) as seen:
            killer = Killer(stage, recorder, {"redis": redis, "postgres": database}, seen, rng)
            print(
                f"{'#':>3}  {'killed':<20} {'answers before':>14} {'well again, s':>13} {'answered':>9} {'broken':>7}"
            )
            for number, kill in enumerate(killer.kills(options.kills), 1):
                killed = " + ".join(kill.killed)
                figures = f"{kill.answers:>14,} {kill.away_s:>13.2f} {kill.answers_meanwhile:>9,} {kill.broken:>7,}"
                print(f"{number:>3}  {killed:<20} {figures}", flush=True)
        connections.close_all()  # Postgres was killed under them
        all_recorded(stage)
        found = result(seen)
    print(f"\n{found.received:,} answers received in {time.monotonic() - started:.0f} s, {options.kills} kills")
    print(f"lost {found.lost}, double {found.double}")
    print(f"gateway {found.gateway:,}, ledger {found.ledger:,}, sums {found.rollup:,}")
    print(f"recorded and not received {found.unreceived} (connections that broke: {found.broken:,})")
    return 0 if found.exact else 1


if __name__ == "__main__":
    sys.exit(main())
