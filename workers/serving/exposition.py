"""`GET /metrics`: what the processes of this machine count, in the text format of Prometheus.

Processes that share a port cannot be scraped one by one, so whoever is asked answers for all: each listens on a socket
file in the folder that they share, and says there what it counts. Every sample carries the label `process`.
"""

import asyncio
import contextlib
import hmac
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from workers.contracts.errors import UserError
from workers.serving.config import Config
from workers.serving.families import families
from workers.serving.process import Process

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

# How long another process may take to say what it counts: one that is busy is left out of this answer.
_PATIENCE_S: Final = 1.0
_STARTING_S: Final = 10.0
_LONGEST_PATH: Final = 107  # of a Unix socket's address
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")


def check_reader(config: Config, headers: dict[bytes, bytes], client: tuple[str, int] | None) -> None:
    """Who may read: whoever sends the token; without one, programs of this machine that ask directly.

    Raises UserError. Behind a proxy everyone comes from this machine: an installation that others can reach
    (SLIPWAY_PREDICT_URL) is read with the token alone.
    """
    if config.metrics_token:
        sent = headers.get(b"authorization", b"")
        if not hmac.compare_digest(sent, b"Bearer " + config.metrics_token.encode()):
            raise UserError("not_authenticated", hint="Send `Authorization: Bearer <SLIPWAY_METRICS_TOKEN>`.")
    elif config.published or not _is_loopback(client) or any(name in headers for name in _FORWARDED):
        raise UserError("not_found")


def _is_loopback(client: tuple[str, int] | None) -> bool:
    return client is not None and ip_address(client[0]).is_loopback


class _All(Collector):
    """The families of several processes, by the processes' names, as one."""

    def __init__(self, found: dict[str, Sequence[Any]]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, Metric] = {}
        for process, told in self._found.items():
            for name, kind, text, samples in told:
                metric = merged.setdefault(name, Metric(name, text, kind))
                for ending, labels, value in samples:
                    metric.add_sample(name + ending, {**labels, "process": process}, value)
        return merged.values()


def text_of(found: dict[str, Sequence[Any]], accept: str) -> tuple[bytes, str]:
    """What Prometheus reads, and its content type: the OpenMetrics format for those who accept it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All(found))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class Exposition:
    """Says what this process counts, and asks the others that share its folder."""

    def __init__(self, process: Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._path = folder / f"{process.name}.sock"
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        """Listen for the others."""
        if len(str(self._path)) > _LONGEST_PATH:
            log.warning("metrics of this process alone: the home's path is too long for a socket", path=str(self._path))
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._server = await asyncio.start_unix_server(self._tell, self._path)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """The answer to a scrape, and its content type."""
        others = [path for path in self._folder.glob("*.sock") if path != self._path]
        told = await asyncio.gather(*(_ask(path) for path in others))
        found = {path.stem: counted for path, counted in zip(others, told, strict=True) if counted is not None}
        return await self._in_thread(
            lambda: text_of({self._process.name: list(families(self._process)), **found}, accept)
        )

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(await self._in_thread(lambda: orjson.dumps(list(families(self._process)))))
            await writer.drain()
        writer.close()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """A thousand endpoints take tenths of a second: not on the event loop, which may count on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._process.parsing, work)


async def _ask(path: Path) -> list[Any] | None:
    """What another process counts; None where it does not say."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                counted: list[Any] = orjson.loads(await reader.read())
                return counted
            finally:
                writer.close()
    except (ConnectionRefusedError, FileNotFoundError):
        _forget(path)
    except (OSError, TimeoutError, orjson.JSONDecodeError) as error:
        log.warning("metrics of a process are missing", process=path.stem, reason=str(error)[:200])
    return None


def _forget(path: Path) -> None:
    """Remove the socket of a process that was killed; one that is just starting may not listen yet."""
    with contextlib.suppress(OSError):
        if path.stat().st_mtime < time.time() - _STARTING_S:
            path.unlink()
