"""Heads of requests that came before. Most clients send the same bytes each time: what they mean is looked up.

A head is everything before the body. Only heads of plain requests are kept: POST with a Content-Length, over a
connection that stays open.
"""

from dataclasses import dataclass, field
from typing import Final

from workers.contracts.snapshot import KeyEntry, Route

END: Final = b"\r\n\r\n"
_MOST: Final = 512
_MOST_BYTES: Final = 2**11


@dataclass(slots=True)
class Known:
    """What the application has found out about a head; true as long as the snapshot is of this `version`."""

    version: int
    key: KeyEntry
    route: Route
    slug: str
    is_oip: bool
    # By revision, the part of a usage record that says whose request it is (workers.serving.exchange).
    whose: dict[str, bytes] = field(default_factory=dict)


class Head:
    """What a head says. `headers` belong to many requests: they are only read."""

    __slots__ = ("headers", "known", "length", "path")

    def __init__(self, path: str, headers: dict[bytes, bytes], length: int) -> None:
        self.path = path
        self.headers = headers
        # Bytes of the body.
        self.length = length
        self.known: Known | None = None


class Heads:
    """The heads of a process, by their bytes."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self.get = self._heads.get

    def keep(self, data: bytes, method: str, path: str, headers: dict[bytes, bytes], body: bytes) -> Head | None:
        """Remember the head of a request that is all of `data`, as the parser has read it. None: it is not plain."""
        length = len(data) - len(body)
        if (
            method != "POST"
            or length > _MOST_BYTES
            or data.find(END) + len(END) != length
            or headers.get(b"content-length") != b"%d" % len(body)
            or not headers.keys().isdisjoint((b"transfer-encoding", b"expect"))
        ):
            return None
        if len(self._heads) >= _MOST:
            self._heads.clear()
        head = self._heads[data[:length]] = Head(path, headers, len(body))
        return head
