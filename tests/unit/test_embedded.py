"""The embedded Postgres and Redis: durable, private, and never in each other's way."""

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis

from slipway import embedded

ROOT = Path(__file__).resolve().parents[2]


def start(home: Path, stack: ExitStack) -> dict[str, str]:
    """Start both servers of a home until the stack closes; their URLs by name."""
    stack.enter_context(embedded.locked(home))
    log = home / "log"
    return {s.name: stack.enter_context(embedded.running(s, log)) for s in embedded.prepare(home, durable=False)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_what_was_written_is_there_after_a_restart(home: Path) -> None:
    for run in (1, 2):
        with ExitStack() as stack:
            urls = start(home, stack)
            with psycopg.connect(urls["postgres"]) as connection, redis.Redis.from_url(urls["redis"]) as client:
                connection.execute("CREATE TABLE IF NOT EXISTS runs (number int)")
                connection.execute("INSERT INTO runs VALUES (%s)", [run])
                assert connection.execute("SELECT count(*) FROM runs").fetchone() == (run,)
                assert client.rpush("runs", run) == run


def test_two_homes_run_side_by_side_with_secrets_of_their_own(tmp_path: Path) -> None:
    with ExitStack() as stack:
        one, other = (start(tmp_path / name, stack) for name in ("one", "other"))
        for name in ("postgres", "redis"):
            first, second = urlsplit(one[name]), urlsplit(other[name])
            assert first.port != second.port
            assert first.password != second.password
            assert first.hostname == second.hostname == "127.0.0.1"


def test_nobody_comes_in_without_the_password(postgres_server: str, redis_server: str) -> None:
    wrong = [url.replace(urlsplit(url).password or "", "guess") for url in (postgres_server, redis_server)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(wrong[0])
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(wrong[1]).ping()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{urlsplit(postgres_server).port}/postgres")


def test_the_application_is_no_superuser(postgres_server: str) -> None:
    with psycopg.connect(postgres_server) as connection:
        assert connection.execute("SHOW is_superuser").fetchone() == ("off",)


def test_what_holds_data_or_secrets_is_closed_to_others(
    session_home: Path, postgres_server: str, redis_server: str
) -> None:
    for name in ("postgres", "redis", "services.json", "redis/redis.conf"):
        assert stat.S_IMODE((session_home / name).stat().st_mode) in (0o600, 0o700), name


@pytest.mark.parametrize(
    ("name", "value"), [("appendonly", "yes"), ("maxmemory-policy", "noeviction"), ("bind", "127.0.0.1")]
)
def test_redis_keeps_every_write_and_evicts_nothing(redis_server: str, name: str, value: str) -> None:
    assert redis.Redis.from_url(redis_server, decode_responses=True).config_get(name) == {name: value}


def test_a_home_is_used_once_at_a_time(home: Path) -> None:
    with embedded.locked(home), pytest.raises(embedded.EmbeddedError, match="already runs"), embedded.locked(home):
        pass


def test_servers_end_with_whoever_started_them_and_start_again(home: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from contextlib import ExitStack\n"
        "from slipway import embedded\n"
        "home = Path(sys.argv[1])\n"
        "with ExitStack() as stack:\n"
        "    for server in embedded.prepare(home, durable=False):\n"
        "        stack.enter_context(embedded.running(server, home / 'log'))\n"
        "    print('up', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    home.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) > 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, left = psutil.wait_procs(below, timeout=20)
    assert left == []
    with ExitStack() as stack:
        assert set(start(home, stack)) == {"postgres", "redis"}


def test_a_stale_pid_file_is_no_obstacle(home: Path) -> None:
    with ExitStack() as stack:
        start(home, stack)
    # The pid in it lives, but is somebody else: us.
    for name in ("postgres/postmaster.pid", "redis/redis.pid"):
        (home / name).write_text(f"{os.getpid()}\n{home / 'postgres'}\n")
    with ExitStack() as stack:
        assert set(start(home, stack)) == {"postgres", "redis"}


def test_a_taken_port_is_given_up(home: Path) -> None:
    taken = urlsplit(embedded.addresses(home).redis_url).port
    with socket.socket() as other, ExitStack() as stack:
        other.bind(("127.0.0.1", taken or 0))
        other.listen()
        assert urlsplit(start(home, stack)["redis"]).port != taken
