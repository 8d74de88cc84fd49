"""Who asks, and whether they may: keys are looked up by their sha256 in the snapshot, in memory."""

import time

from workers.contracts import keys
from workers.contracts.errors import InfraError, UserError
from workers.contracts.snapshot import KeyEntry, Route
from workers.serving.heads import Known
from workers.serving.snapshot import Directory

_MAX_KEY = 200


def authenticate(headers: dict[bytes, bytes], directory: Directory) -> KeyEntry:
    """The key of a request. Raises UserError `key_missing`, `key_invalid`; InfraError `unavailable`."""
    if not directory.is_fresh:
        raise InfraError("unavailable", retry_after=2)
    value = headers.get(b"authorization")
    if value is None:
        raise UserError("key_missing")
    if value[:7].lower() != b"bearer " or len(value) > _MAX_KEY:
        raise UserError("key_invalid", hint="Send `Authorization: Bearer <key>`.")
    entry = directory.keys.get(keys.digest(value[7:].strip().decode("latin-1")))
    if entry is None or _has_expired(entry):
        raise UserError("key_invalid")
    return entry


def still_holds(known: Known, directory: Directory) -> bool:
    """Whether what `authenticate` and `route_for` once said of a request is what they would say of it now."""
    return known.version == directory.version and directory.is_fresh and not _has_expired(known.key)


def _has_expired(key: KeyEntry) -> bool:
    return key.expires is not None and key.expires <= time.time()


def route_for(key: KeyEntry, slug: str, directory: Directory) -> Route:
    """The endpoint that a key may use. Raises UserError `endpoint_not_found` or `key_not_for_endpoint`.

    Another team's endpoint does not exist for this key.
    """
    route = directory.routes.get(slug)
    if route is None or route.team != key.team:
        raise UserError("endpoint_not_found")
    if key.endpoints is not None and route.endpoint not in key.endpoints:
        raise UserError("key_not_for_endpoint")
    return route
