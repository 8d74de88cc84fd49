"""The environment: what it may say, and what is said about what it may not."""

import stat
from pathlib import Path

import pytest

from slipway import env


def test_an_empty_environment_is_a_local_installation(tmp_path: Path) -> None:
    found = env.read({"SLIPWAY_HOME": str(tmp_path)})
    assert found.local
    assert (found.url, found.predict_url) == ("http://127.0.0.1:8000", "http://127.0.0.1:8001")
    assert found.storage == str(tmp_path / "storage")
    assert found.database_url is None


def test_an_external_database_ends_the_local_mode(tmp_path: Path) -> None:
    given = {"SLIPWAY_HOME": str(tmp_path), "DATABASE_URL": "postgresql://u:p@db/slipway"}
    assert not env.read(given).local
    assert env.read({**given, "SLIPWAY_EMBEDDED_DATABASE": "1"}).local


def test_the_services_of_a_running_home_are_found(tmp_path: Path) -> None:
    env.services_file(tmp_path).write_text('{"database_url": "postgresql://a", "redis_url": "redis://b"}')
    found = env.read({"SLIPWAY_HOME": str(tmp_path)})
    assert (found.database_url, found.redis_url) == ("postgresql://a", "redis://b")
    assert found.local


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLIPWAY_PORT", "eighty"),
        ("SLIPWAY_PORT", "0"),
        ("SLIPWAY_PORT", "70000"),
        ("SLIPWAY_PORT", "٨٠٠٠"),
        ("SLIPWAY_PORT", "8001"),
        ("SLIPWAY_RUNNERS", "-1"),
        ("SLIPWAY_RUNNERS", "1e3"),
        ("SLIPWAY_DEBUG", "perhaps"),
        ("SLIPWAY_URL", "slipway.example.com"),
        ("SLIPWAY_URL", "https://slipway.example.com/app"),
        ("SLIPWAY_SMTP_URL", "mail.example.com"),
    ],
)
def test_a_variable_that_cannot_work_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(env.EnvError, match=name):
        env.read({"SLIPWAY_HOME": str(tmp_path), name: value})


def test_a_mail_server_is_read_from_its_url(tmp_path: Path) -> None:
    url = "smtp+starttls://shop:p%40ss@mail.example.com"
    found = env.read({"SLIPWAY_HOME": str(tmp_path), "SLIPWAY_SMTP_URL": url}).mail
    assert found == env.Mail("mail.example.com", 587, "shop", "p@ss", "starttls")


def test_every_installation_has_a_secret_key_of_its_own(tmp_path: Path) -> None:
    one, other = (env.installation_secret(tmp_path / name) for name in ("one", "other"))
    assert one != other
    assert env.installation_secret(tmp_path / "one") == one
    assert stat.S_IMODE((tmp_path / "one" / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["secret_key"]


def test_a_damaged_secret_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("")
    with pytest.raises(env.EnvError, match="secret_key"):
        env.installation_secret(tmp_path)
