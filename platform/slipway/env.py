"""What the environment says, read once and typed. Every variable that the control plane obeys is in this file."""

import contextlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workers.fetch.policy import Policy, of_environment

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: the folder that holds manage.py."""

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


class EnvError(Exception):
    """A variable of the environment cannot be used; the message says which, and what would do."""


@dataclass(frozen=True, slots=True)
class Mail:
    """An SMTP server. `security` is "", "starttls" or "tls"."""

    host: str
    port: int
    user: str
    password: str
    security: str


@dataclass(frozen=True, slots=True)
class Env:
    """The environment of one Slipway installation."""

    home: Path  # all state of a local installation
    port: int  # dashboard and control API
    predict_port: int  # hosted prediction API
    url: str  # where users reach the dashboard, without a slash at the end
    predict_url: str  # where programs reach the prediction API
    database_url: str | None
    redis_url: str | None
    storage: str  # a folder or s3://bucket/prefix
    max_upload_bytes: int  # of one uploaded file
    team_bytes: int  # of all that a team has uploaded and what was made of it; 0 is without bound
    cache_bytes: int  # what may be kept on this machine's disk that can be made again
    imports: Policy  # which addresses users may have fetched
    ledger_days: int  # how long single requests are kept; their sums per minute stay
    gpu_hour_price: Decimal | None  # what an hour on one GPU costs your users, and on a CPU slot
    cpu_hour_price: Decimal | None
    currency: str
    servers: int  # processes of the prediction API on this machine, which share its port
    runners: int  # CPU runner slots on this machine; GPUs add their own
    gpus_per_runner: int  # how many GPUs one job may have
    secret_key: str | None
    debug: bool
    statement_timeout_s: int  # a database query that takes longer is ended; 0 is for ever
    proxies: int  # trusted reverse proxies in front of the web process
    mail: Mail | None
    mail_from: str
    external_database: bool  # DATABASE_URL was given: nothing embedded, no demo account

    @property
    def local(self) -> bool:
        """Whether this installation runs on its own embedded database: the mode of `make up`."""
        return not self.external_database


def read(environ: Mapping[str, str] | None = None) -> Env:
    """Read the environment. Raises EnvError with a sentence that names the variable."""
    env = os.environ if environ is None else environ
    home = Path(env.get("SLIPWAY_HOME") or ROOT / "var").expanduser().resolve()
    running = running_services(home)
    database_url, redis_url = env.get("DATABASE_URL") or None, env.get("REDIS_URL") or None
    # `make up` marks the URLs of its own embedded servers when it hands them to its children.
    embedded = _flag(env, "SLIPWAY_EMBEDDED_DATABASE")
    port, predict_port = _port(env, "SLIPWAY_PORT", 8000), _port(env, "SLIPWAY_PREDICT_PORT", 8001)
    if port == predict_port:
        raise EnvError(f"SLIPWAY_PORT and SLIPWAY_PREDICT_PORT are both {port}; they must differ.")
    return Env(
        home=home,
        port=port,
        predict_port=predict_port,
        url=_url(env, "SLIPWAY_URL", f"http://127.0.0.1:{port}"),
        predict_url=_url(env, "SLIPWAY_PREDICT_URL", f"http://127.0.0.1:{predict_port}"),
        database_url=database_url or running.get("database_url"),
        redis_url=redis_url or running.get("redis_url"),
        storage=env.get("SLIPWAY_STORAGE") or str(home / "storage"),
        max_upload_bytes=_number(env, "SLIPWAY_MAX_UPLOAD_BYTES", 5 * 2**30, low=1, high=2**50),
        team_bytes=_number(env, "SLIPWAY_TEAM_BYTES", 0, low=0, high=2**60),
        cache_bytes=_number(env, "SLIPWAY_CACHE_BYTES", 4 * 2**30, low=2**20, high=2**50),
        imports=_imports(env),
        ledger_days=_number(env, "SLIPWAY_LEDGER_DAYS", 400, low=1, high=10_000),
        gpu_hour_price=_price(env, "SLIPWAY_GPU_HOUR_PRICE"),
        cpu_hour_price=_price(env, "SLIPWAY_CPU_HOUR_PRICE"),
        currency=env.get("SLIPWAY_CURRENCY", "").strip()[:8] or "USD",
        servers=_number(env, "SLIPWAY_SERVERS", 1, low=1, high=64),
        runners=_number(env, "SLIPWAY_RUNNERS", 1, low=0, high=256),
        gpus_per_runner=_number(env, "SLIPWAY_GPUS_PER_RUNNER", 1, low=1, high=64),
        secret_key=env.get("SLIPWAY_SECRET_KEY") or None,
        debug=_flag(env, "SLIPWAY_DEBUG"),
        statement_timeout_s=_number(env, "SLIPWAY_STATEMENT_TIMEOUT", 15, low=0, high=86_400),
        proxies=_number(env, "SLIPWAY_PROXIES", 0, low=0, high=8),
        mail=_mail(env),
        mail_from=env.get("SLIPWAY_MAIL_FROM") or "Slipway <slipway@localhost>",
        external_database=database_url is not None and not embedded,
    )


def services_file(home: Path) -> Path:
    """Where a running `make up` says how its embedded servers are reached (mode 600)."""
    return home / "services.json"


def running_services(home: Path) -> dict[str, str]:
    """database_url and redis_url of the embedded servers of this home; empty where none were ever started."""
    try:
        found = json.loads(services_file(home).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: str(found[key]) for key in ("database_url", "redis_url") if found.get(key)}


def installation_secret(home: Path) -> str:
    """The secret key of this installation: made at the first call, kept in a file that only its owner can read."""
    path = home / "secret_key"
    home.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # A whole file appears at once, and only the first of several processes wins.
        descriptor, temporary = tempfile.mkstemp(dir=home, prefix=".secret_key")  # mode 600
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(50))
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        os.unlink(temporary)
    secret = path.read_text("utf-8").strip()
    if len(secret) < 50:
        raise EnvError(f"{path} does not hold a secret key. Delete it to have a new one made.")
    return secret


def _number(env: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    # isascii: int() also takes the digits of every other script.
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise EnvError(f"{name} must be a whole number from {low} to {high}, not {text!r}.")
    return int(text)


def _price(env: Mapping[str, str], name: str) -> Decimal | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,4})?", text):
        raise EnvError(f"{name} must be a price such as 2.50, not {text!r}.")
    return Decimal(text)


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    return _number(env, name, default, low=1, high=65535)


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").strip().lower()
    if text not in _TRUE | _FALSE:
        raise EnvError(f"{name} must be 1 or 0, not {text!r}.")
    return text in _TRUE


def _imports(env: Mapping[str, str]) -> Policy:
    try:
        return of_environment(env)
    except ValueError as error:
        raise EnvError(str(error)) from None


def _url(env: Mapping[str, str], name: str, default: str) -> str:
    text = (env.get(name) or default).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise EnvError(f"{name} must look like https://slipway.example.com, not {text!r}.")
    return text


def _mail(env: Mapping[str, str]) -> Mail | None:
    """SLIPWAY_SMTP_URL: smtp://user:password@host:25, smtp+starttls://…:587 or smtps://…:465."""
    text = env.get("SLIPWAY_SMTP_URL", "").strip()
    if not text:
        return None
    parts = urlsplit(text)
    kinds = {"smtp": ("", 25), "smtp+starttls": ("starttls", 587), "smtps": ("tls", 465)}
    if parts.scheme not in kinds or not parts.hostname:
        raise EnvError("SLIPWAY_SMTP_URL must look like smtps://user:password@mail.example.com:465.")
    security, port = kinds[parts.scheme]
    return Mail(
        parts.hostname, parts.port or port, unquote(parts.username or ""), unquote(parts.password or ""), security
    )
