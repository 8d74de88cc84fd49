"""What the environment says to a serving process, and the bounds of what clients may ask of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from workers.contracts.kinds import KINDS
from workers.serving import memory, spool, threads

# Bytes of a request's body, by kind of endpoint.
MAX_BODY: Final[dict[str, int]] = {name: kind.max_body for name, kind in KINDS.items()}
MAX_FEEDBACK_BODY: Final = 16 * 2**10
# Inputs in one request.
MAX_INPUTS: Final[dict[str, int]] = {name: kind.max_inputs for name, kind in KINDS.items()}
# Bytes of bodies that one process holds at once; a body beyond it is answered 503.
MAX_BODIES: Final = 512 * 2**20
# Inputs that wait for one model or are being predicted by it; one more is answered 503.
MAX_WAITING: Final = 1024
# Inputs that are predicted in one run of the model.
MAX_BATCH: Final = 64
# Seconds that an input may wait before its prediction begins.
DEADLINE_S: Final = 10.0
# The longest time that a client may say it waits.
MAX_TIMEOUT_MS: Final = 600_000
POLL_S: Final = 0.4


_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_TRACES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class ConfigError(Exception):
    """A variable of the environment cannot be used; the message says which."""


@dataclass(frozen=True, slots=True)
class Config:
    """The environment of one serving process. `hosts` are the names that clients may call it by."""

    host: str
    port: int
    servers: int  # how many processes share the port
    hosts: frozenset[str]
    redis_url: str
    storage: str
    cache: Path
    # What Redis cannot take goes here, so many bytes at most, and to the disk itself by one of spool.FSYNC.
    spool: Path
    spool_bytes: int
    spool_fsync: str
    # How long routes and keys that Redis no longer confirms are believed, in seconds.
    offline_s: float
    access_log: str  # "all", "errors" or "off"
    drain_s: float
    headers_timeout_s: float
    body_timeout_s: float
    connections: int  # at once, if the system lets this process have so many files
    traces: bool  # whether an OpenTelemetry exporter is configured, by its own variables
    metrics_token: str  # who reads the metrics from elsewhere sends it; "" is nobody
    published: bool  # whether others than this machine know the address: something stands in front of it
    memory: int  # bytes that the loaded models of this process may take together
    cores: int  # that one run of a model may use

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> "Config":
        """Read the environment. Raises ConfigError."""
        env = os.environ if environ is None else environ
        home = Path(env.get("SLIPWAY_HOME") or "var").expanduser().resolve()
        host = env.get("SLIPWAY_SERVING_HOST") or "127.0.0.1"
        hosts = {*_LOOPBACK, f"[{host}]" if ":" in host else host}
        servers = _number(env, "SLIPWAY_SERVERS", "1", 1, 64)
        if public := urlsplit(env.get("SLIPWAY_PREDICT_URL") or "").hostname:
            hosts.add(public.lower())
        return cls(
            host=host,
            port=_number(env, "SLIPWAY_PREDICT_PORT", "8001", 1, 65535),
            servers=servers,
            hosts=frozenset(hosts),
            redis_url=_needed(env, "REDIS_URL"),
            storage=env.get("SLIPWAY_STORAGE") or str(home / "storage"),
            cache=home / "serving",
            spool=home / "spool",
            spool_bytes=_number(env, "SLIPWAY_SERVING_SPOOL_BYTES", str(2**30), 0, 2**50),
            spool_fsync=_choice(env, "SLIPWAY_SERVING_SPOOL_FSYNC", spool.FSYNC),
            offline_s=_number(env, "SLIPWAY_SERVING_OFFLINE_S", "3600", 3, 30 * 86_400),
            access_log=_choice(env, "SLIPWAY_SERVING_ACCESS_LOG", ("errors", "all", "off")),
            traces=_traces(env),
            metrics_token=_token(env, "SLIPWAY_METRICS_TOKEN"),
            published=public not in (None, "::1", *_LOOPBACK),
            headers_timeout_s=_number(env, "SLIPWAY_SERVING_HEADERS_TIMEOUT_MS", "15000", 100, 600_000) / 1000,
            connections=_number(env, "SLIPWAY_SERVING_CONNECTIONS", "20000", 10, 1_000_000),
            body_timeout_s=_number(env, "SLIPWAY_SERVING_BODY_TIMEOUT_MS", "30000", 100, 600_000) / 1000,
            drain_s=_number(env, "SLIPWAY_SERVING_DRAIN_MS", "1000", 0, 60_000) / 1000,
            # Each has its part of both.
            memory=(_size(env, "SLIPWAY_SERVING_MEMORY") or memory.default_budget()) // servers,
            cores=max(1, threads.cores() // servers),
        )


def _needed(env: Mapping[str, str], name: str) -> str:
    if not env.get(name):
        raise ConfigError(f"{name} is not set.")
    return env[name]


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """One of the choices; the first is the default."""
    text = env.get(name) or choices[0]
    if text not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {text!r}.")
    return text


def _traces(env: Mapping[str, str]) -> bool:
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    protocols = {env.get(f"OTEL_EXPORTER_OTLP_{name}PROTOCOL") or "http/protobuf" for name in ("", "TRACES_")}
    configured = any(env.get(name) for name in _TRACES)
    if configured and protocols != {"http/protobuf"}:
        raise ConfigError("Traces leave by OTLP over HTTP: OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf.")
    return configured


def _token(env: Mapping[str, str], name: str) -> str:
    """A secret of some length; "" where there is none."""
    text = (env.get(name) or "").strip()
    if text and (len(text) < 16 or not text.isascii() or not text.isprintable()):
        raise ConfigError(f"{name} must have at least 16 characters, all of them ASCII.")
    return text


def _size(env: Mapping[str, str], name: str) -> int | None:
    """Bytes; None where nothing is said."""
    text = env.get(name)
    if not text:
        return None
    if (size := memory.parse_size(text)) is None:
        raise ConfigError(f"{name} must be a size such as 2GiB or 500MiB, not {text!r}.")
    return size


def _number(env: Mapping[str, str], name: str, default: str, low: int, high: int) -> int:
    text = env.get(name) or default
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}, not {text!r}.")
    return int(text)
