"""`make up`: everything starts, heals and stops, and nothing stays behind."""

import json
import os
import signal
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from slipway import embedded
from tests.stack import Stack, start

QUICK_S = 15


def wait_for(probe: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait until the probe is true."""
    end = time.monotonic() + timeout_s
    while not probe():
        assert time.monotonic() < end, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.1)  # between two looks


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def signed_in_as(stack: Stack) -> str:
    reply = httpx.get(f"{stack.url}/api/v1/me", headers={"Authorization": f"Bearer {stack.token}"}, timeout=10)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["email"])


def test_it_heals_stops_cleanly_and_starts_again_within_seconds(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = start(home)
    serving = first.child("workers.serving")
    serving.kill()
    wait_for(lambda: any("serving ended with SIGKILL" in line for line in first.lines), "the crash to be named")
    wait_for(lambda: answers(f"{first.predict_url}/v2/health/ready"), "serving to be back")
    assert first.child("workers.serving").pid != serving.pid
    assert first.stop(signal.SIGTERM) == 0
    assert first.lines[-1] == "Slipway has stopped"

    before = time.monotonic()
    second = start(home)
    assert time.monotonic() - before < QUICK_S
    assert signed_in_as(second) == first.email
    assert second.token == first.token

    below = list(second.children().values())
    second.process.kill()
    second.process.wait()
    _, left = psutil.wait_procs(below, timeout=20)
    assert left == [], "a killed supervisor leaves processes behind"


def test_two_installations_run_side_by_side(stack: Stack, tmp_path: Path) -> None:
    other = start(tmp_path / "home", SLIPWAY_RUNNERS="0")
    try:
        assert other.token != stack.token
        assert other.password != stack.password
        refused = httpx.get(f"{other.url}/api/v1/me", headers={"Authorization": f"Bearer {stack.token}"}, timeout=10)
        assert refused.status_code == 401
    finally:
        assert other.stop(signal.SIGINT) == 0


def test_a_home_in_use_is_refused_in_words(stack: Stack) -> None:
    with pytest.raises(AssertionError, match=f"Slipway already runs in {stack.home}"):
        start(stack.home)
    assert signed_in_as(stack) == stack.email


def test_a_port_in_use_is_refused_in_words(stack: Stack, tmp_path: Path) -> None:
    port = stack.url.rsplit(":", 1)[1]
    with pytest.raises(AssertionError, match=f"port {port} is in use by another program.*SLIPWAY_PORT"):
        start(tmp_path / "home", SLIPWAY_PORT=port)


def test_with_servers_of_ones_own_nothing_is_embedded(tmp_path: Path) -> None:
    """And there is no account that anybody could guess."""
    with ExitStack() as servers:
        log = tmp_path / "log"
        external = embedded.prepare(tmp_path / "external", durable=False)
        urls = {server.name: servers.enter_context(embedded.running(server, log)) for server in external}
        variables = {"DATABASE_URL": urls["postgres"], "REDIS_URL": urls["redis"]}
        with pytest.raises(AssertionError, match=r"slipway\.E001"):
            start(tmp_path / "home", **variables)
        started = start(tmp_path / "home", **variables, SLIPWAY_SECRET_KEY="k" * 60)
        try:
            assert not (tmp_path / "home" / "demo.json").exists()
            assert not (tmp_path / "home" / "postgres").exists()
            assert not (tmp_path / "home" / "redis").exists()
            assert not (tmp_path / "home" / "secret_key").exists()
            assert httpx.get(f"{started.url}/readyz", timeout=10).status_code == 200
        finally:
            assert started.stop() == 0
        with psycopg.connect(urls["postgres"]) as connection:
            assert connection.execute("SELECT count(*) FROM teams_user").fetchone() == (0,)


def test_the_demo_account_is_in_a_file_for_its_owner_alone(stack: Stack) -> None:
    path = stack.home / "demo.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {"url", "predict_url", "email", "password", "token"}
    assert signed_in_as(stack) == stack.email


def test_the_demo_account_signs_in_by_browser(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, follow_redirects=True, timeout=10) as browser:
        browser.get("/accounts/login/")
        token = next(value for name, value in browser.cookies.items() if "csrf" in name)
        form = {"login": stack.email, "password": stack.password, "csrfmiddlewaretoken": token}
        reply = browser.post("/accounts/login/", data=form, headers={"Referer": f"{stack.url}/accounts/login/"})
        assert reply.status_code == 200
        assert browser.get("/api/v1/me").json()["email"] == stack.email


def test_workers_know_no_secret_of_the_control_plane(stack: Stack) -> None:
    secret = (stack.home / "secret_key").read_text()
    for part in ("workers.serving", "workers.runner.app"):
        environ = stack.child(part).environ()
        assert not [name for name in environ if name in ("DATABASE_URL", "SLIPWAY_SECRET_KEY", "SLIPWAY_SMTP_URL")]
        assert secret not in environ.values()
    assert "DATABASE_URL" in stack.child("slipway.web").environ()


def test_nothing_listens_beyond_this_machine(stack: Stack) -> None:
    for process in stack.children().values():
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::1"), process.cmdline()


def test_state_stays_in_the_home(stack: Stack) -> None:
    assert {"demo.json", "secret_key", "services.json", "logs"} <= set(os.listdir(stack.home))
