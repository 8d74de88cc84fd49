"""Where log lines go: a process has to go on where nobody takes them, for the disk is full or their reader is gone."""

import contextlib
from typing import Any, TextIO


class Careless:
    """A text stream whose writing never fails. What cannot be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """All of the text, if it can be."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """What has been written, if it can be."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
