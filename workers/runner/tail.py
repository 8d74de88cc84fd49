"""Reading events.jsonl while the child writes it. The child is not trusted: what is no event of its own is dropped."""

from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from workers.contracts import nul
from workers.contracts.events import EVENT, FROM_CHILD, Event
from workers.runner.folders import open_plain

LONGEST_LINE: Final = 256 * 1024
_MOST_AT_ONCE: Final = 1 << 20


class Read(NamedTuple):
    """What was new: good events in order, and how many lines were dropped."""

    events: list[Event]
    dropped: int


class Tail:
    """A position in an events.jsonl. A torn last line waits until the rest of it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        # Inside a line that is already too long: all of it is thrown away, unread.
        self._skipping = False
        self._unreadable = False

    def read(self) -> Read:
        """What was appended since the last call, at most a megabyte at once."""
        try:
            with open_plain(self._path) as stream:
                stream.seek(self._offset)
                data = stream.read(_MOST_AT_ONCE)
        except FileNotFoundError:
            return Read([], 0)
        except (OSError, ValueError):
            self._unreadable = True
            return Read([], 0)
        self._offset += len(data)
        events, dropped = [], 0
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
                continue
            event = _event(line)
            if event is not None:
                events.append(event)
            elif line.strip():
                dropped += 1
        if len(self._rest) > LONGEST_LINE:
            dropped += not self._skipping
            self._skipping, self._rest = True, b""
        return Read(events, dropped)

    @property
    def at_end(self) -> bool:
        """Whether everything that the file holds has been read, as far as it can be."""
        try:
            return self._unreadable or self._path.stat().st_size <= self._offset
        except OSError:
            return True


def _event(line: bytes) -> Event | None:
    if len(line) > LONGEST_LINE or nul.is_in(line):
        return None
    try:
        event = EVENT.validate_json(line)
    except ValidationError:
        return None
    return event if event.type in FROM_CHILD else None
