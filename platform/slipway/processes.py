"""`make up`: everything that Slipway is, on one machine.

    python -m slipway.processes

starts Postgres and Redis unless DATABASE_URL and REDIS_URL name others, migrates, collects static files, makes the demo
account once, runs every process, and says when all of it is ready. SIGINT and SIGTERM stop all of it; with
--end-with-parent, so does the end of whoever started it, even by SIGKILL.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import redis

from slipway import embedded, redis_users
from slipway.children import adopt_orphans, dies_with_parent
from slipway.env import ROOT, Env, EnvError, read
from slipway.supervisor import Child, Supervisor, TooManyCrashes, line_writer
from workers.contracts import names

READY_PATIENCE_S = 120
# How the processes of other machines, and of this one, say that they are there.
_KINDS = {names.SERVERS: names.serving_key, names.RUNNERS: names.runner_key}
_PYTHON = sys.executable
# What a runner and the prediction API may know: no database, no secret key, no mail password.
_WORKER_VARIABLES = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SLIPWAY_HOME", "SLIPWAY_STORAGE", "REDIS_URL"}
_WORKER_VARIABLES |= {"SLIPWAY_PREDICT_PORT", "SLIPWAY_PREDICT_URL", "SLIPWAY_SERVERS"}
_WORKER_VARIABLES |= {"SLIPWAY_IMPORT_NETWORKS", "SLIPWAY_IMPORT_BUCKETS"}
_WORKER_VARIABLES |= {"SLIPWAY_ENCODERS", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "SSL_CERT_FILE"}
_WORKER_PREFIXES = ("AWS_", "CUDA_", "NVIDIA_", "OMP_", "ORT_", "FSSPEC_", "SLIPWAY_SERVING_")


# Under which name a role's own REDIS_URL is passed on here, where Redis is ours.
_ROLE_URL: dict[redis_users.Role, str] = {"serving": "_REDIS_URL_SERVING", "runner": "_REDIS_URL_RUNNER"}


class StartError(Exception):
    """Slipway cannot start; the message says why."""


def main() -> int:
    """Run until stopped. The exit code is 0 after a clean stop, 1 after a failure."""
    if "--end-with-parent" in sys.argv[1:] and (arrange := dies_with_parent(signal.SIGTERM, os.getppid())):
        arrange()
    adopt_orphans()
    try:
        env = read()
        with embedded.locked(env.home):
            _require_free(SLIPWAY_PORT=env.port, SLIPWAY_PREDICT_PORT=env.predict_port)
            return asyncio.run(_run(env))
    except (EnvError, embedded.EmbeddedError, StartError, TooManyCrashes) as error:
        print(f"Slipway cannot run: {error}", file=sys.stderr, flush=True)
        return 1


def _require_free(**ports: int) -> None:
    for variable, port in ports.items():
        if not embedded.is_free(port):
            raise StartError(f"port {port} is in use by another program. Choose another by {variable}=…")


async def _run(env: Env) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(line_writer(env.home / "logs"))
    started: list[Child] = []
    work = asyncio.create_task(_start(env, supervisor, started))
    waits: list[asyncio.Future[Any]] = [work, asyncio.create_task(stop.wait()), supervisor.failure]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if work in done and not work.exception() and not stop.is_set():
            await asyncio.wait(waits[1:], return_when=asyncio.FIRST_COMPLETED)
        for task in (work, supervisor.failure):
            if task.done():
                task.result()
        return 0
    finally:
        print("Slipway is stopping", flush=True)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await supervisor.stop(started)
        print("Slipway has stopped", flush=True)


async def _start(env: Env, supervisor: Supervisor, started: list[Child]) -> None:
    environ = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")]),
    }
    environ |= {"SLIPWAY_HOME": str(env.home), "SLIPWAY_STORAGE": env.storage}
    environ |= await _databases(env, supervisor)
    (env.home / "beat").mkdir(mode=0o700, exist_ok=True)
    # The workers need no database: they come up while it is being prepared.
    before = await asyncio.to_thread(_said, environ["REDIS_URL"])
    runners = runner_processes(env, environ)
    for child in [*serving_processes(env, environ), *runners]:
        started.append(child)
        await supervisor.start(child)
    await _prepare(environ)
    for child in control_processes(env, environ):
        started.append(child)
        await supervisor.start(child)
    await _until_ready(env, environ["REDIS_URL"], len(runners), before)
    supervisor.patient = True
    print(f"Slipway is ready: {env.url}", flush=True)


# --- Databases ---


async def _databases(env: Env, supervisor: Supervisor) -> dict[str, str]:
    """Start what is not given; the variables that say where both are."""
    given = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL") if os.environ.get(name)}
    wanted = {"postgres": "DATABASE_URL" not in given, "redis": "REDIS_URL" not in given}
    found = dict(given)
    for server in await asyncio.to_thread(lambda: embedded.prepare(env.home, **wanted)):
        child = Child(
            server.name,
            server.command,
            stop_signal=server.stop_signal,
            quiet=True,
            options=embedded.spawn_arguments(server),
        )
        await supervisor.start(child)
        await asyncio.to_thread(embedded.wait_ready, server, lambda child=child: child.alive)  # type: ignore[misc]
        found["DATABASE_URL" if server.name == "postgres" else "REDIS_URL"] = server.url
    if wanted["redis"]:
        found |= {_ROLE_URL[role]: redis_users.url_of(found["REDIS_URL"], role) for role in _ROLE_URL}
    if wanted["postgres"]:
        found["SLIPWAY_EMBEDDED_DATABASE"] = "1"
    return found


async def _prepare(environ: dict[str, str]) -> None:
    """Bring database and static files up to date. Raises StartError with what was printed."""
    process = await asyncio.create_subprocess_exec(
        *(_PYTHON, str(ROOT / "manage.py"), "prepare"),
        env={**environ, "SLIPWAY_STATEMENT_TIMEOUT": "0"},  # a migration may take long
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=dies_with_parent(signal.SIGKILL),
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise StartError(f"manage.py prepare failed:\n{output.decode('utf-8', 'replace')}")


# --- Processes ---


_CELERY = [_PYTHON, "-m", "celery", "--quiet"]  # without its banner
_CELERY_WORKER = ["--pool=threads", "--loglevel=WARNING", "--without-gossip", "--without-mingle"]
# Containers run as root, and tasks are JSON: pickled ones, which celery warns of there, cannot come in.
_CELERY_VARIABLES = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges"}


def control_processes(env: Env, environ: dict[str, str]) -> list[Child]:
    """What holds the database: web, the control plane's own tasks, their clock, and the recorder."""
    worker = [*_CELERY, "-A", "slipway", "worker", *_CELERY_WORKER, f"--queues={names.QUEUE_CONTROL}"]
    worker += ["--concurrency=2", "--hostname=control@%h"]
    beat = [*_CELERY, "-A", "slipway", "beat", "--loglevel=WARNING", "--pidfile="]
    return [
        Child("web", [_PYTHON, "-m", "slipway.web"], environ),
        Child("worker", worker, {**environ, **_CELERY_VARIABLES}),
        Child("recorder", [_PYTHON, str(ROOT / "manage.py"), "record"], environ),
        Child("beat", beat, environ, quiet=True),
    ]


def serving_processes(env: Env, environ: dict[str, str]) -> list[Child]:
    """The hosted prediction API: processes that share a port, each with all of it."""
    # Where it sends traces, and who reads its metrics.
    seeing = {k: v for k, v in environ.items() if k.startswith("OTEL_") or k == "SLIPWAY_METRICS_TOKEN"}
    # It drains before it stops.
    command = [_PYTHON, "-m", "workers.serving"]
    serving = ["serving", *(f"serving-{index + 1}" for index in range(1, env.servers))]
    return [Child(name, command, {**_worker_environ(environ, "serving"), **seeing}, patience_s=25) for name in serving]


def runner_processes(env: Env, environ: dict[str, str]) -> list[Child]:
    """The runners of this machine: its CPU slots, and one for each GPU or group of GPUs."""
    children = []
    for name, queues, device in _slots(env):
        command = [*_CELERY, "-A", "workers.runner.app", "worker", *_CELERY_WORKER, f"--queues={','.join(queues)}"]
        command += ["--concurrency=1", f"--hostname={name}@%h"]
        children.append(Child(name, command, {**_worker_environ(environ, "runner"), **_CELERY_VARIABLES, **device}))
    return children


def _worker_environ(environ: dict[str, str], role: redis_users.Role) -> dict[str, str]:
    """What a worker may know of our environment."""
    found = {
        name: value for name, value in environ.items() if name in _WORKER_VARIABLES or name.startswith(_WORKER_PREFIXES)
    }
    redis_url = environ.get(_ROLE_URL[role], environ["REDIS_URL"])
    return {**found, "REDIS_URL": redis_url, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def _slots(env: Env) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """(name, queues, variables) of each runner slot: the CPU slots, and one for each group of GPUs."""
    cpu_queues = [
        *names.training_queues(names.QUEUE_TRAIN_CPU, os.cpu_count() or 1),
        names.QUEUE_INGEST,
        names.QUEUE_BATCH,
    ]
    for index in range(env.runners):
        yield f"runner-{index + 1}", cpu_queues, {"CUDA_VISIBLE_DEVICES": ""}
    gpus = _gpus()
    for start in range(0, len(gpus), env.gpus_per_runner):
        group = gpus[start : start + env.gpus_per_runner]
        queues = names.training_queues(names.QUEUE_TRAIN_GPU, len(group))
        yield f"runner-gpu{group[0]}", queues, {"CUDA_VISIBLE_DEVICES": ",".join(group)}


def _gpus() -> list[str]:
    """Indices of this machine's NVIDIA GPUs."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return [line.strip() for line in done.stdout.splitlines() if line.strip().isdigit()]
    return []


# --- Readiness ---


async def _until_ready(env: Env, redis_url: str, runners: int, before: set[tuple[str, str]]) -> None:
    """Wait until web and serving answer and every runner has said that it is there. `before` is what was said before
    they were started: the word of an earlier run lives on, and a clock may be set meanwhile."""

    def said(listed: str) -> int:
        return sum(kind == listed for kind, _ in _said(redis_url) - before)

    waits: dict[str, Callable[[], bool]] = {
        "web": lambda: _answers(f"http://127.0.0.1:{env.port}/readyz"),
        "serving": lambda: _answers(f"http://127.0.0.1:{env.predict_port}/v2/health/ready"),
        "all of serving": lambda: said(names.SERVERS) >= env.servers,
        "runners": lambda: said(names.RUNNERS) >= runners,
    }
    missing = await asyncio.gather(*(_poll(name, probe) for name, probe in waits.items()))
    if any(missing):
        late = ", ".join(name for name in missing if name)
        raise StartError(f"not ready within {READY_PATIENCE_S} s: {late}. See {env.home / 'logs'}.")


async def _poll(name: str, probe: Callable[[], bool]) -> str:
    """The empty string once the probe is true, else the name."""
    loop = asyncio.get_running_loop()
    end = loop.time() + READY_PATIENCE_S
    while loop.time() < end:
        if await asyncio.to_thread(probe):
            return ""
        await asyncio.sleep(0.1)
    return name


def _answers(url: str) -> bool:
    # Loopback only: a proxy from the environment must not be asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _said(redis_url: str) -> set[tuple[str, str]]:
    """(names.SERVERS or names.RUNNERS, what it last said) of each process that has spoken lately."""
    with contextlib.suppress(redis.RedisError), redis.Redis.from_url(redis_url, socket_timeout=5) as client:
        keys = {key_of(name.decode()): kind for kind, key_of in _KINDS.items() for name in client.smembers(kind)}
        texts = client.mget(list(keys) or ["none"])
        return {(kind, text.decode()) for kind, text in zip(keys.values(), texts, strict=False) if text}
    return set()


if __name__ == "__main__":
    sys.exit(main())
