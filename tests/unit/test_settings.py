"""The settings as the environment makes them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from slipway import app as celery

ROOT = Path(__file__).resolve().parents[2]
EXTERNAL = {
    "DATABASE_URL": "postgresql://slipway:pass@127.0.0.1:9/slipway",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "SLIPWAY_SECRET_KEY": "x" * 60,
    "SLIPWAY_URL": "https://slipway.example.com",
    "SLIPWAY_SMTP_URL": "smtps://u:p@mail.example.com",
}


def manage(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py in an environment of its own."""
    environ = {"PATH": os.environ["PATH"], "SLIPWAY_HOME": str(home), **variables}
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=120)


def shown(home: Path, names: list[str], **variables: str) -> dict[str, Any]:
    """Values of settings in an environment of its own."""
    values = f"[getattr(settings, name) for name in {names!r}]"
    code = f"import json; from django.conf import settings; print(json.dumps({values}, default=str))"
    done = manage(home, "shell", "--no-imports", "--command", code, **variables)
    assert done.returncode == 0, done.stderr
    return dict(zip(names, json.loads(done.stdout), strict=True))


def test_every_periodic_task_exists_and_expires_before_its_next_turn() -> None:
    celery.loader.import_default_modules()
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        assert entry["task"] in celery.tasks, name
        if isinstance(entry["schedule"], float):
            assert entry["options"]["expires"] <= entry["schedule"], name


def test_every_change_of_a_model_has_its_migration(db: None) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_an_external_installation_with_everything_passes_its_checks(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", "--fail-level=WARNING", **EXTERNAL)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("SLIPWAY_SECRET_KEY", "slipway.E001"),
        ("REDIS_URL", "slipway.E002"),
        ("SLIPWAY_SMTP_URL", "slipway.W002"),
        ("SLIPWAY_URL", "slipway.W003"),
    ],
)
def test_what_an_external_installation_lacks_is_said(tmp_path: Path, missing: str, code: str) -> None:
    given = {name: value for name, value in EXTERNAL.items() if name != missing}
    done = manage(tmp_path, "check", "--fail-level=WARNING", **given)
    assert done.returncode == 1
    assert code in done.stderr
    assert "HINT" in done.stderr


def test_behind_https_cookies_are_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    names = ["SESSION_COOKIE_NAME", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_NAME", "SECURE_HSTS_SECONDS", "ALLOWED_HOSTS"]
    names += ["SECURE_HSTS_INCLUDE_SUBDOMAINS", "SESSION_COOKIE_HTTPONLY", "SESSION_COOKIE_SAMESITE"]
    found = shown(tmp_path, names, **EXTERNAL)
    assert found["SESSION_COOKIE_NAME"] == "__Host-sessionid"
    assert found["CSRF_COOKIE_NAME"] == "__Host-csrftoken"
    assert found["SESSION_COOKIE_SECURE"] is True
    assert found["SECURE_HSTS_SECONDS"] >= 31_536_000 and found["SECURE_HSTS_INCLUDE_SUBDOMAINS"] is True
    assert found["SESSION_COOKIE_HTTPONLY"] is True and found["SESSION_COOKIE_SAMESITE"] == "Lax"
    assert set(found["ALLOWED_HOSTS"]) == {"slipway.example.com", "127.0.0.1", "localhost", "[::1]"}


def test_options_of_a_database_url_reach_the_driver(tmp_path: Path) -> None:
    url = "postgresql://u:p%40ss@db.example.com:6432/shop?sslmode=verify-full"
    database = shown(tmp_path, ["DATABASES"], **{**EXTERNAL, "DATABASE_URL": url})["DATABASES"]["default"]
    assert (database["HOST"], database["PORT"], database["NAME"]) == ("db.example.com", "6432", "shop")
    assert database["PASSWORD"] == "p@ss"
    assert database["OPTIONS"]["sslmode"] == "verify-full"
    assert "statement_timeout" in database["OPTIONS"]["options"]


def test_no_demo_account_is_made_on_an_external_database(tmp_path: Path) -> None:
    done = manage(tmp_path, "create_demo", "--skip-checks", **EXTERNAL)
    assert done.returncode == 1
    assert "local installations only" in done.stderr
    assert not (tmp_path / "demo.json").exists()


def test_passwords_are_hashed_by_argon2() -> None:
    assert settings.PASSWORD_HASHERS[0].endswith("Argon2PasswordHasher")


def test_an_unknown_address_is_answered_in_one_shape(client: Client, db: None) -> None:
    reply = client.get("/api/v1/nothing-here", headers={"Accept": "application/json"})
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "not_found"
    assert reply.json()["error"]["request_id"] == reply.headers["X-Request-Id"]
