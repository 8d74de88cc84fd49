"""What may be fetched: decided by the operator's environment, checked when an address is named and when it is used."""

import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn
from urllib.parse import quote, unquote, urlsplit

from workers.contracts.errors import UserError
from workers.fetch.addresses import Address, Network, is_public

MAX_URL: Final = 2000
# Where files are served. Other ports belong to other protocols.
_PORTS: Final = {80, 443, 8080, 8443}
_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# What urlsplit would strip or browsers take for something else.
_ODD: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\]")


class Target(NamedTuple):
    """An address taken apart once; requests are made of these parts. Of s3 `host` is the bucket, `path` the key."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def filename(self) -> str:
        """The last part of the path, for people."""
        return unquote(self.path.partition("?")[0].rstrip("/").rpartition("/")[2]) or self.host


@dataclass(frozen=True, slots=True)
class Policy:
    """`networks` may be reached although they are not public; `buckets` (`name` or `name/prefix`) may be read by the
    operator's credentials, but never `storage`, where every team's data lies."""

    networks: tuple[Network, ...] = ()
    buckets: tuple[str, ...] = ()
    storage: str = ""

    def target(self, url: str) -> Target:
        """The parts of an address that may be fetched as far as it can be told by itself.

        Raises UserError `url_not_allowed`.
        """
        if len(url) > MAX_URL or _ODD.search(url):
            refuse("The address has characters that do not belong there, or is too long.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            refuse("The address cannot be read.")
        if parts.scheme == "s3":
            return self._object(parts.netloc, parts.path, f"{parts.query}{parts.fragment}")
        if parts.scheme not in _DEFAULT_PORT:
            refuse("Addresses begin with https://, http:// or s3://.")
        if "@" in parts.netloc:
            refuse("The address holds a user or a password.")
        if "[" in parts.netloc and ":" not in (parts.hostname or ""):
            refuse("The address names no host.")
        host = _host(parts.hostname or "")
        target = Target(parts.scheme, host, port or _DEFAULT_PORT[parts.scheme], _path(parts.path, parts.query))
        address = _literal(host)
        if address is not None:
            self.check(address, target.port)
        elif target.port not in _PORTS and not self.networks:
            refuse(f"Port {target.port} is not one of {', '.join(map(str, sorted(_PORTS)))}.")
        return target

    def check(self, address: Address, port: int) -> None:
        """Whether a connection may go to an address. Raises UserError `url_not_allowed`."""
        if any(address in network for network in self.networks):
            return
        if not is_public(address):
            refuse("The address does not lead to the public internet.")
        if port not in _PORTS:
            refuse(f"Port {port} is not one of {', '.join(map(str, sorted(_PORTS)))}.")

    def _object(self, bucket: str, path: str, rest: str) -> Target:
        key = path.removeprefix("/")
        if not _BUCKET.fullmatch(bucket) or rest or not key or {"", ".", ".."} & set(key.split("/")):
            refuse("Objects are named like s3://bucket/folder/file.csv.")
        if not any(_within(f"{bucket}/{key}", allowed) for allowed in self.buckets):
            refuse("This bucket may not be read.", "Ask whoever runs Slipway to name it in SLIPWAY_IMPORT_BUCKETS.")
        if self.storage and _within(f"{bucket}/{key}", self.storage):
            refuse("This bucket may not be read.", "")
        return Target("s3", bucket, 443, key)


def of_environment(environ: Mapping[str, str]) -> Policy:
    """What SLIPWAY_IMPORT_NETWORKS and SLIPWAY_IMPORT_BUCKETS say. Raises ValueError with a sentence."""
    networks = []
    for text in _listed(environ, "SLIPWAY_IMPORT_NETWORKS"):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            raise ValueError(f"SLIPWAY_IMPORT_NETWORKS must list networks such as 10.1.0.0/16, not {text!r}") from None
    buckets = tuple(_listed(environ, "SLIPWAY_IMPORT_BUCKETS"))
    for text in buckets:
        if not _BUCKET.fullmatch(text.partition("/")[0]):
            raise ValueError(f"SLIPWAY_IMPORT_BUCKETS must list buckets such as data or data/public, not {text!r}")
    storage = environ.get("SLIPWAY_STORAGE", "")
    own = storage.removeprefix("s3://").strip("/") if storage.startswith("s3://") else ""
    return Policy(tuple(networks), buckets, own)


def refuse(why: str, hint: str | None = None) -> NoReturn:
    """Raise UserError `url_not_allowed`."""
    raise UserError("url_not_allowed", why, hint=hint)


def _listed(environ: Mapping[str, str], name: str) -> list[str]:
    parts = (part.strip(" /") for part in environ.get(name, "").split(","))
    return [part for part in parts if part]


def _within(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder.rstrip('/')}/")


def _host(name: str) -> str:
    """The host as it is looked up. Raises UserError for what is neither a name nor a plain address."""
    if ":" in name or _literal(name):
        return name
    try:
        host = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        host = ""
    if not _HOST.fullmatch(host) or len(host) > 253:
        refuse("The address names no host.")
    try:
        # 127.1, 0x7f.1, 2130706433: addresses in disguise, which resolvers take.
        socket.inet_aton(host)
    except OSError:
        if host == "localhost" or host.endswith(".localhost"):
            refuse("The address does not lead to the public internet.")
        return host
    if _literal(host) is None:
        refuse("The address does not lead to the public internet.")
    return host


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        if ":" in host:
            refuse("The address names no host.")
        return None


def _path(path: str, query: str) -> str:
    """Path and query as they are sent: what is not ASCII is encoded, what is encoded stays."""
    asked = quote(path or "/", safe="/%:@!$&'()*+,;=~-._")
    return f"{asked}?{quote(query, safe='/?%:@!$&()*+,;=~-._')}" if query else asked
