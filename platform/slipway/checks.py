"""Settings that cannot work, as Django system checks with an id and a hint. `manage.py check` shows them all."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from slipway.env import Env


@register()
def check_environment(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Everything about the environment that is known to be wrong before the first request."""
    env: Env = settings.ENV
    return [message for message in (_secret(env), _database(env), _redis(env), _mail(env), _https(env)) if message]


def _secret(env: Env) -> CheckMessage | None:
    if env.local or (env.secret_key and len(env.secret_key) >= 50):
        return None
    return Error(
        "DATABASE_URL is set, but SLIPWAY_SECRET_KEY is missing or shorter than 50 characters.",
        hint="Make one key for all processes: python -c 'import secrets; print(secrets.token_urlsafe(50))'",
        id="slipway.E001",
    )


def _database(env: Env) -> CheckMessage | None:
    if env.database_url:
        return None
    return Warning(
        f"There is no database: DATABASE_URL is not set and nothing has been started in {env.home}.",
        hint="Run `make up`, or set DATABASE_URL.",
        id="slipway.W001",
    )


def _redis(env: Env) -> CheckMessage | None:
    if env.redis_url or not env.database_url:
        return None
    return Error(
        "DATABASE_URL is set, but REDIS_URL is not.",
        hint="Set REDIS_URL, for example redis://:password@redis.internal:6379/0.",
        id="slipway.E002",
    )


def _mail(env: Env) -> CheckMessage | None:
    if env.local or env.mail:
        return None
    return Warning(
        "No mail server: invitations and password resets are printed to the log instead of sent.",
        hint="Set SLIPWAY_SMTP_URL, for example smtps://user:password@mail.example.com:465.",
        id="slipway.W002",
    )


def _https(env: Env) -> CheckMessage | None:
    if env.local or env.url.startswith("https://"):
        return None
    return Warning(
        f"SLIPWAY_URL is {env.url}: passwords and keys travel in clear.",
        hint="Put a TLS proxy in front, and set SLIPWAY_URL=https://… and SLIPWAY_PROXIES=1.",
        id="slipway.W003",
    )
