"""What is measured, started: Slipway with everything on, and what it stands beside. And the tables that say the result.

Servers run on the machine's first core; Redis and the load on its last.
"""

import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from slipway import embedded  # noqa: E402
from tests.serving.running import Control, Serving, serving, until  # noqa: E402
from tests.stack import free_ports  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))


@dataclass
class Server:
    """Something that answers. `request` is one whole request as bytes."""

    name: str
    port: int
    pid: int
    request: bytes

    def cpu_s(self) -> float:
        """Processor time so far, user and system, its children's too."""
        process = psutil.Process(self.pid)
        return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])

    def rss(self) -> int:
        """Bytes of memory."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextlib.contextmanager
def on_core(index: int) -> Iterator[None]:
    """What is started meanwhile stays on one core."""
    os.sched_setaffinity(0, {CORES[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


def request_of(port: int, path: str, body: bytes, key: str = "", content_type: str = "application/json") -> bytes:
    """The bytes of one request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {content_type}\r\n"
    head += f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def json_of(text: str) -> bytes:
    """The body that asks for one text."""
    return json.dumps({"inputs": [text]}).encode()


@dataclass
class Slipway:
    """A serving process, and the control plane that tells it what to serve."""

    home: Path
    control: Control
    client: "redis.Redis[bytes]"
    redis_url: str
    key: str
    serving: Serving

    def server(self, slug: str, body: bytes, content_type: str = "application/json") -> Server:
        """One of its endpoints, as what answers a request."""
        port, path = self.serving.port, f"/v1/endpoints/{slug}/predict"
        request = request_of(port, path, body, self.key, content_type)
        return Server("slipway", port, self.serving.process.pid, request)

    def forget(self) -> None:
        """Empty the stream of usage records: nobody reads it here."""
        self.client.xtrim("slipway:usage", maxlen=0)


@contextlib.contextmanager
def home_and_control() -> Iterator[tuple[Path, Control, str]]:
    """An empty home, a control plane on a Redis of its own, and that Redis's address."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-bench-")))
        (server,) = embedded.prepare(home, postgres=False)
        with on_core(-1):
            redis_url = stack.enter_context(embedded.running(server, home / "redis.log"))
        client = stack.enter_context(contextlib.closing(redis.Redis.from_url(redis_url)))
        yield home, Control(client, str(home / "storage")), redis_url


@contextlib.contextmanager
def serving_quietly(home: Path, redis_url: str, port: int | None = None, **variables: str) -> Iterator[Serving]:
    """A serving process whose log is only shown when something fails."""
    context = serving(home, redis_url, wait=False, port=port, **variables)
    with contextlib.ExitStack() as stack:

        def leave(kind: Any, error: Any, trace: Any) -> "bool | None":
            shown = sys.stdout if error else io.StringIO()
            with contextlib.redirect_stdout(shown):
                return context.__exit__(kind, error, trace)

        running = context.__enter__()
        stack.push(leave)
        until(lambda: running.answers() or running.process.poll() is not None, 120)
        yield running


@contextlib.contextmanager
def slipway(**endpoints: tuple[str, Callable[[Path], Path]]) -> Iterator[Slipway]:
    """Slipway with these endpoints: address → kind, and what makes the bundle at a path."""
    with contextlib.ExitStack() as stack:
        home, control, redis_url = stack.enter_context(home_and_control())
        for slug, (kind, make) in endpoints.items():
            control.add_route(slug, make(home / f"{slug}.zip"), kind=kind)
        key = control.add_key()
        control.publish()
        with on_core(0):
            running = stack.enter_context(serving_quietly(home, redis_url))
        yield Slipway(home, control, control.client, redis_url, key, running)


@contextlib.contextmanager
def started(name: str, command: Sequence[str | Path], path: str, body: bytes, **variables: str) -> Iterator[Server]:
    """Another server: `{port}` in its command is its port. It counts as started once it answers the request."""
    port, *spare = free_ports(4)
    places = {"port": port, "spare1": spare[0], "spare2": spare[1], "spare3": spare[2]}
    environ = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"], "HOME": str(Path.home())}
    with on_core(0), tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(part).format(**places) for part in command],
            env=environ | {name: value.format(**places) for name, value in variables.items()},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            try:
                until(lambda: process.poll() is not None or _answers(port, path, body), 120)
                assert process.poll() is None
            except AssertionError:
                log.seek(0)
                raise SystemExit(f"{name} does not answer:\n{log.read()[-3000:].decode('utf-8', 'replace')}") from None
            os.sched_setaffinity(0, CORES)
            yield Server(name, port, process.pid, request_of(port, path, body))
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            for child in [*children, psutil.Process(process.pid)] if process.poll() is None else children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


def bare(folder: Path, body: bytes) -> "contextlib.AbstractContextManager[Server]":
    """The bare app with the same model and the same batching."""
    return started("bare", [sys.executable, HERE / "bare.py", folder, "{port}"], "/", body)


def constant(body: bytes) -> "contextlib.AbstractContextManager[Server]":
    """A constant reply: what the load generator can do at most."""
    return started("constant", [sys.executable, HERE / "constant.py", "{port}"], "/", body)


def _answers(port: int, path: str, body: bytes) -> bool:
    try:
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{port}{path}"
        return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def measure(server: Server, connections: int, seconds: float, rate: float | None = None) -> dict[str, Any]:
    """One measurement by the load generator; `cpu_us` is the server's time per request. Ends where there are errors."""
    before = server.cpu_s()
    command = [sys.executable, str(HERE / "load.py"), "127.0.0.1", str(server.port), str(connections), str(seconds)]
    with on_core(-1):
        done = subprocess.run(
            [*command, *([str(rate)] if rate else [])], input=server.request, capture_output=True, check=True
        )
    result: dict[str, Any] = json.loads(done.stdout)
    result["cpu_us"] = round((server.cpu_s() - before) * 1e6 / max(result["answers"], 1), 1)
    return result


def checked(server: Server, result: dict[str, Any]) -> dict[str, Any]:
    """The result, if every answer was a 200."""
    if result["errors"] or result["broken"]:
        raise SystemExit(
            f"{server.name}: {result['errors']} answers were not 200, {result['broken']} connections broke:"
            f" {result['first_error']}"
        )
    return result


def median(results: Sequence[dict[str, Any]], name: str) -> float:
    """Of one figure over the rounds."""
    return statistics.median(result[name] for result in results)


class Table:
    """A table in Markdown, printed line by line as the rows come."""

    def __init__(self, title: str, *columns: str) -> None:
        self._widths = [max(len(column), 8) for column in columns]
        print(f"\n### {title}\n")
        self.row(*columns)
        print("|" + "|".join("-" * (width + 2) for width in self._widths) + "|")

    def row(self, *values: object) -> None:
        """One line; numbers to the right."""
        cells = []
        for value, width in zip(values, self._widths, strict=True):
            text = str(value) if not isinstance(value, float) else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
            cells.append(text.ljust(width) if isinstance(value, str) else text.rjust(width))
        print("| " + " | ".join(cells) + " |", flush=True)


def machine() -> str:
    """In one line."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {len(CORES)} cores, Python {platform.python_version()}"
    return f"{platform.machine()}, {len(CORES)} cores, Python {platform.python_version()}"
