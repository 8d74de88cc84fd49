"""Who may do what in the embedded Redis: serving and runners have users of their own, and no word that is not theirs.

Neither can look through keys, change how the server runs, or read what is for others. Scripts are for the control
plane and for runners, whose Celery releases its locks by one.
"""

import hashlib
from typing import Final, Literal
from urllib.parse import urlsplit

from workers.contracts import names

Role = Literal["serving", "runner"]

_CONNECTION: Final = "+ping +hello +auth +select +client|setname +multi +exec +discard"
_SERVING_KEYS: Final = [
    names.SNAPSHOT,
    names.SNAPSHOT_VERSION,
    names.STREAM_USAGE,
    names.STREAM_FEEDBACK,
    names.STREAM_SHADOW,
    names.SERVERS,
    names.serving_key("*"),
    names.call_key("*"),
]
_RUNNER_KEYS: Final = [
    names.STREAM_EVENTS,
    names.STREAM_USAGE,  # of batch predictions
    names.RUNNERS,
    *(key_of("*") for key_of in (names.runner_key, names.lease_key, names.cancel_key, names.fetch_key)),
    *(f"{queue}*" for queue in (names.QUEUE_TRAIN_CPU, names.QUEUE_TRAIN_GPU, names.QUEUE_INGEST, names.QUEUE_BATCH)),
    # Of Celery: whose queue is whose, what was taken and not acknowledged, and how workers are called.
    "_kombu.*",
    "unacked*",
    "celery*",
    "*.pidbox*",
]
_RULES: Final[dict[Role, str]] = {
    "serving": " ".join(
        [
            *(f"~{key}" for key in _SERVING_KEYS),
            *(f"&{channel}" for channel in (names.SNAPSHOT_CHANNEL, names.LIMITS_CHANNEL)),
            f"-@all {_CONNECTION} +get +set +del +sadd +srem +xadd +publish +subscribe +unsubscribe",
        ]
    ),
    "runner": " ".join(
        [
            *(f"~{key}" for key in _RUNNER_KEYS),
            "&*celery*",
            "+@all -@dangerous -@admin -scan -randomkey +info",
        ]
    ),
}


def lines(redis_url: str) -> list[str]:
    """Of redis.conf, for 6.2 and later."""
    digests = {role: hashlib.sha256(_password(redis_url, role).encode()).hexdigest() for role in _RULES}
    return [f"user {role} on #{digests[role]} resetkeys resetchannels {rules}" for role, rules in _RULES.items()]


def url_of(redis_url: str, role: Role) -> str:
    """The URL for a role, made of the control plane's, which cannot be told from it."""
    parts = urlsplit(redis_url)
    return f"redis://{role}:{_password(redis_url, role)}@{parts.hostname}:{parts.port}{parts.path}"


def _password(redis_url: str, role: Role) -> str:
    return hashlib.sha256(f"{role}:{urlsplit(redis_url).password}".encode()).hexdigest()
