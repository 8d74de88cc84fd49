"""The format of API keys and personal tokens: `<kind>_<12 characters prefix>_<secret>`.

A key carries 160 random bits. Only its prefix (to recognise it) and sha256 (to check it) are kept; a fast hash is right
for random secrets (ASVS 5.0, 11.4).
"""

import hashlib
import secrets
from typing import Final, NamedTuple
from urllib.parse import urlsplit

API_KEY: Final = "swk"
PERSONAL_TOKEN: Final = "swt"  # noqa: S105 (the kind, not a token)
MAX_ORIGINS: Final = 20  # web origins that one key may name
_MAX_ORIGIN: Final = 200
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 symbols without l, o, 0, 1: 5 bits each


class NewKey(NamedTuple):
    """A fresh key. `text` is shown once and never stored."""

    text: str
    prefix: str
    digest: str


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_key(kind: str) -> NewKey:
    """Make a key of a kind (API_KEY or PERSONAL_TOKEN)."""
    prefix = f"{kind}_{_random(12)}"
    text = f"{prefix}_{_random(32)}"
    return NewKey(text, prefix, digest(text))


def digest(text: str) -> str:
    """sha256 of the whole key, 64 hexadecimal digits: what is stored and looked up."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def clean_origin(text: str) -> str | None:
    """A web origin as browsers send it: scheme, host, and the port unless it is the scheme's own. None is not one.

    Neither "*" nor "null" is an origin: a key names the pages that may use it.
    """
    try:
        parts = urlsplit(text.strip().lower().removesuffix("/"))
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port
    except ValueError:  # of which UnicodeError is one
        return None
    if (
        parts.scheme not in _DEFAULT_PORTS
        or parts.netloc.partition("@")[1]
        or parts.path
        or parts.query
        or parts.fragment
    ):
        return None
    if ":" in host:
        host = f"[{host}]"
    elif not host or not all(letter.isascii() and (letter.isalnum() or letter in "-._") for letter in host):
        return None
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, _DEFAULT_PORTS[parts.scheme]) else "")
    return origin if len(origin) <= _MAX_ORIGIN else None
