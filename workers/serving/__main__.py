"""`python -m workers.serving`: one process of the hosted prediction API."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

import structlog
import uvicorn
import uvloop

from workers.serving import bodies
from workers.serving.app import App
from workers.serving.config import Config, ConfigError
from workers.serving.exposition import Exposition
from workers.serving.output import Careless
from workers.serving.process import Process
from workers.serving.protocol import Connection
from workers.serving.trial import Trial

log = structlog.get_logger("workers.serving")

_SHUTDOWN_S = 15


_BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: they end the process at once and with a signal's exit code."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`."""
        yield


# Requests leave hardly any cycles behind: look for them less often than Python's 700, 10, 10.
_GC_THRESHOLDS = (20_000, 20, 20)
# Open files that are kept for Redis, bundles, the spool and the log.
_OTHER_FILES = 100
# Seconds that a thread may hold the interpreter while the event loop wants it: Python's 5 ms are many requests.
_SWITCH_S = 0.0005


async def serve(config: Config, trial: Trial) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    process = Process(config, trial)
    exposition = Exposition(process, config.cache / "metrics")
    Connection.headers_timeout_s, bodies.timeout_s = config.headers_timeout_s, config.body_timeout_s
    server = Server(
        uvicorn.Config(
            App(process, exposition),
            interface="asgi3",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )
    loop = asyncio.get_running_loop()
    ending: set[asyncio.Task[None]] = set()

    def end() -> None:
        if not process.draining:
            ending.add(asyncio.create_task(_drain(process, server)))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await process.start()
    await exposition.start()
    log.info("serving", url=f"http://{config.host}:{config.port}", process=process.name)
    try:
        await server.serve([_listening(config)])
    finally:
        await exposition.stop()
        await process.stop()
    log.info("stopped")
    return 0 if server.started else 1


def _listening(config: Config) -> socket.socket:
    """The socket; several processes may share its port, and the system gives each its part of the connections."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    address = (config.host, config.port)
    return socket.create_server(address, family=family, backlog=_BACKLOG, reuse_port=config.servers > 1)


async def _drain(process: Process, server: uvicorn.Server) -> None:
    """No longer ready, but answering, for as long as load balancers need to notice; then no new connections."""
    process.draining = True
    log.info("draining", seconds=process.config.drain_s)
    await asyncio.sleep(process.config.drain_s)
    server.should_exit = True


def _log_json() -> None:
    """One JSON line per event on standard error, those of libraries too."""
    first: list[Any] = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso")]
    last: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    lines = cast(TextIO, Careless(sys.stderr))
    structlog.configure(processors=[*first, *last], logger_factory=structlog.PrintLoggerFactory(lines))
    handler = logging.StreamHandler(lines)
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[strip, *last], foreign_pre_chain=first))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def _allow(connections: int) -> int:
    """Raise the limit of open files, usually 1,024, for so many connections; how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    wanted = connections + _OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(connections, soft - _OTHER_FILES), 10)


def main() -> int:
    """Run; 2 where the environment is not usable."""
    _log_json()
    try:
        config = Config.read()
    except ConfigError as error:
        print(f"serving cannot start: {error}", file=sys.stderr)
        return 2
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(*_GC_THRESHOLDS)
    Connection.most = _allow(config.connections)
    # Now: it forks, and there is no thread yet.
    return uvloop.run(serve(config, Trial()))


if __name__ == "__main__":
    sys.exit(main())
