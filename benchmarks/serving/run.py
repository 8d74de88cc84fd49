"""Hosted prediction against a bare ASGI app with the same model and the same batching, side by side; and its peers.

    python benchmarks/serving/run.py [--seconds 4] [--rounds 3] [--peers]

Slipway runs with everything on: API key, limits, metering into a real Redis, access log. The servers take turns, so
that whatever else the machine does meets all. Prints requests per second at 1, 16 and 64 connections, and their ratio;
the CPU time of the server per request (user and system, which a busy machine disturbs less), and what that would be as
a ratio of rates. Before them stands a constant reply: what the load generator can do at most.
"""

import argparse
import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving import models
from benchmarks.serving.peers import PEERS, peer
from benchmarks.serving.servers import (
    Server,
    Slipway,
    Table,
    bare,
    checked,
    constant,
    json_of,
    machine,
    measure,
    median,
    slipway,
)

CONNECTIONS = (1, 16, 64)
PEER_CONNECTIONS = (1, 64)


def against_bare(ours: Slipway, servers: list[Server], seconds: float, rounds: int) -> None:
    """Requests per second beside the bare app's."""
    columns = (
        "constant/s",
        "bare/s",
        "slipway/s",
        "ratio",
        "p99 bare",
        "p99 slipway",
        "CPU us bare",
        "slipway",
        "ratio",
    )
    table = Table("Text model against a bare ASGI app (p99 in ms)", "connections", *columns)
    for connections in CONNECTIONS:
        found: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
        for _ in range(rounds):
            for server in servers:
                found[server.name].append(checked(server, measure(server, connections, seconds)))
            ours.forget()
        rate = {name: median(results, "per_second") for name, results in found.items()}
        p99 = {name: median(results, "p99_ms") for name, results in found.items()}
        cpu = {name: median(results, "cpu_us") for name, results in found.items()}
        table.row(
            *(connections, round(rate["constant"]), round(rate["bare"]), round(rate["slipway"])),
            *(rate["slipway"] / rate["bare"], p99["bare"], p99["slipway"]),
            *(cpu["bare"], cpu["slipway"], cpu["bare"] / cpu["slipway"]),
        )


def against_peers(
    ours: Slipway, our_server: Server, bundle: Path, names: list[str], seconds: float, rounds: int
) -> None:
    """Requests per second beside those of each peer, which is started alone; Slipway is measured next to each."""
    title = "Text model against other servers (Slipway measured in turn with each; p99 in ms)"
    table = Table(
        title, "server             ", "connections", "theirs/s", "slipway/s", "times", "p99", "p99 slipway", "errors"
    )
    best: dict[int, list[float]] = {connections: [] for connections in PEER_CONNECTIONS}
    for name in names:
        for batch in PEERS[name].batches:
            try:
                with peer(name, batch, bundle) as theirs:
                    for connections in PEER_CONNECTIONS:
                        pairs = [
                            (measure(theirs, connections, seconds), measure(our_server, connections, seconds))
                            for _ in range(rounds)
                        ]
                        ours.forget()
                        they, we = zip(*pairs, strict=True)
                        rates = median(they, "per_second"), median(we, "per_second")
                        best[connections].append(rates[1] / rates[0])
                        bad = sum(result["errors"] + result["broken"] for result in they)
                        table.row(
                            *(theirs.name, connections, rates[0], rates[1], rates[1] / rates[0]),
                            *(median(they, "p99_ms"), median(we, "p99_ms"), bad),
                        )
            except (subprocess.CalledProcessError, SystemExit) as error:
                print(f"\n{name} is left out: {error}\n", flush=True)
    for connections, ratios in best.items():
        if ratios:
            print(
                f"\nAt {connections} connections Slipway answers {min(ratios):.2f} times as many as the best of them."
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="also BentoML, LitServe, MLServer and PyTriton")
    parser.add_argument("--only", choices=sorted(PEERS), action="append", help="nothing but this peer")
    options = parser.parse_args()
    print(machine())
    body = json_of(models.TEXT)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(slipway(bench=("text", models.text_bundle)))
        server, folder = ours.server("bench", body), models.unpacked(ours.home / "bench.zip")
        if not options.only:
            with bare(folder, body) as plain, constant(body) as ceiling:
                against_bare(ours, [ceiling, plain, server], options.seconds, options.rounds)
        if options.peers or options.only:
            names = options.only or list(PEERS)
            against_peers(ours, server, folder, names, options.seconds, options.rounds)


if __name__ == "__main__":
    main()
