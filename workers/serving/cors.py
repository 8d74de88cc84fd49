"""Pages of other origins that call from a browser (CORS): answered to where a key names them, and never to all.

A key is sent as a header, by scripts that hold it: cookies and other credentials of the browser have no use here.
"""

import time
from typing import Final

from workers.contracts.snapshot import KeyEntry, Route
from workers.serving.cycle import Headers
from workers.serving.snapshot import Directory

_VARY: Final = (b"vary", b"origin")
# What a page may send and read beside what browsers allow anyway; the answer to a preflight holds for ten minutes.
_ASKED: Final[Headers] = [
    (b"access-control-allow-methods", b"GET, POST"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, content-encoding, idempotency-key, x-timeout-ms, x-slipway-revision",
    ),
    (b"access-control-max-age", b"600"),
]
_SHOWN: Final = (
    b"access-control-expose-headers",
    b"x-request-id, x-ratelimit-remaining, x-quota-remaining, retry-after, idempotency-replayed",
)


def answer_headers(asked: dict[bytes, bytes], key: KeyEntry | None) -> Headers:
    """What lets a page read the answer, if the key of its request names its origin."""
    if key is None or not key.origins:
        return []
    origin = asked.get(b"origin", b"")
    if origin.decode("latin-1") not in key.origins:
        return [_VARY]
    return [(b"access-control-allow-origin", origin), _VARY, _SHOWN]


def preflight_headers(asked: dict[bytes, bytes], route: Route | None, directory: Directory) -> Headers | None:
    """The answer to a browser that asks before it sends the key: yes where any key of the endpoint names the origin."""
    origin = asked.get(b"origin", b"")
    if route is None or b"access-control-request-method" not in asked:
        return None
    keys, now = directory.by_origin.get(origin.decode("latin-1"), ()), time.time()
    if not any(_opens(key, route) and (key.expires is None or key.expires > now) for key in keys):
        return None
    return [(b"access-control-allow-origin", origin), _VARY, *_ASKED]


def _opens(key: KeyEntry, route: Route) -> bool:
    return key.team == route.team and (key.endpoints is None or route.endpoint in key.endpoints)
