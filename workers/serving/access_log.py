"""The access log: usage records as JSON lines on standard output. No payload, no addresses, no keys.

By default only refusals and failures: every answered request is in the ledger anyway.
"""

import asyncio
import contextlib
import sys

_FLUSH_S = 0.25
_MAX_LINES = 2000


class AccessLog:
    """Collects lines and writes them together: a system call per request would cost more than the prediction."""

    def __init__(self, level: str) -> None:
        # Which requests are wanted.
        self.refusals = level in ("all", "errors")
        self.all = level == "all"
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, record: bytes) -> None:
        """Log one record, which is a JSON object."""
        self._lines.append(record)
        if len(self._lines) >= _MAX_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            lines, self._lines = self._lines, []
            with contextlib.suppress(OSError):  # nobody takes them: see workers.serving.output
                sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
                sys.stdout.buffer.flush()
