"""Request bodies are bounded before anything reads them.

Django's ASGI handler first copies the whole body to disk and only then asks who sent it. This wrapper stands before it:
a body that says, or turns out, to be larger than its address may take is cut off at the limit, and Django answers 413
(apps.core.errors.GateMiddleware). So it answers where a large body's sender cannot be looked up, or the disk cannot
hold what came. And where a connection breaks in the middle of a piece of a resumable upload, what
came of it is handed on, so that the client can go on from there.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from django.conf import settings
from django.db import OperationalError

from workers.contracts.errors import InfraError, SlipwayError, UserError

log = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

REFUSED = "slipway.refused"
"""Key of the ASGI scope: the SlipwayError to answer with, where the body was not taken."""

# The parts of a multipart body around the file.
_ENVELOPE = 1 << 20


def _small() -> int:
    return int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE) + _ENVELOPE


def limit_for(path: str, content_type: str) -> int:
    """The largest body, in bytes, that an address takes. Only uploads may be large."""
    carries_a_file = content_type.startswith(("multipart/form-data", "application/offset+octet-stream"))
    if carries_a_file and ("/datasets" in path or path.startswith(("/api/v1/uploads", "/api/v1/predictions"))):
        return int(settings.SLIPWAY_MAX_UPLOAD_BYTES) + _ENVELOPE
    return _small()


def bounded(application: Application) -> Application:
    """The application, never given more body than `limit_for` says."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        limit = limit_for(scope["path"], headers.get(b"content-type", b"").decode("latin-1").lower())
        body = _Body(scope, receive, limit, headers.get(b"content-length"))
        if limit > _small() and REFUSED not in scope:
            try:
                if not await _is_known(headers):
                    # Nobody fills the disk anonymously: without its body the request gets what it deserves, a 401.
                    body.drop()
            except OperationalError:
                scope[REFUSED] = SlipwayError("unavailable", retry_after=5)
        began = False

        async def sent(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await application(scope, body.receive, sent)
        except OSError as error:
            if began:
                raise
            # Django writes the body to disk before its own handlers begin.
            log.error("body_not_kept", path=scope["path"], reason=str(error)[:200])
            scope[REFUSED] = InfraError("disk_full")
            await application(scope, body.receive, send)

    return answer


async def _is_known(headers: dict[bytes, bytes]) -> bool:
    from apps.teams.authentication import is_known  # the app registry is not ready when this module is loaded

    texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    return await asyncio.to_thread(is_known, texts)


def _too_large(limit: int) -> SlipwayError:
    return UserError("payload_too_large", limit_bytes=limit)


class _Body:
    """Counts the body as it comes."""

    def __init__(self, scope: Scope, receive: Receive, limit: int, declared: bytes | None) -> None:
        self.scope, self.source, self.limit, self.received = scope, receive, limit, 0
        if declared is not None and declared.isdigit() and int(declared) > limit:
            scope[REFUSED] = _too_large(limit)
        # A piece of a resumable upload counts as far as it came; half of anything else is nothing.
        self.half_counts = scope["method"] == "PATCH" and scope["path"].startswith("/api/v1/uploads/")
        self.whole = self.cut = self.dropped = False

    def drop(self) -> None:
        """Pass nothing of it on."""
        self.dropped = True

    async def receive(self) -> Message:
        if self.cut:
            # Django listens for a disconnect while it answers; what else comes is none of its business.
            await asyncio.Event().wait()
        if REFUSED in self.scope or self.dropped:
            return self._end()
        message = await self.source()
        if message["type"] == "http.disconnect":
            return self._end() if self.half_counts and not self.whole else message
        self.received += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self.received > self.limit:
            self.scope[REFUSED] = _too_large(self.limit)
            return self._end()
        return message

    def _end(self) -> Message:
        self.cut = True
        return {"type": "http.request", "body": b"", "more_body": False}
