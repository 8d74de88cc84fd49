"""What every archive yields, and the rules that hold for all: names, and how much may come out."""

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits
from workers.ingest.normal_forms import normal
from workers.ingest.records import Problem, printable

if TYPE_CHECKING:
    from workers.ingest.image_look import Known

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_JUNK = frozenset({"__macosx", ".ds_store", "thumbs.db", "desktop.ini", "ehthumbs.db", ".gitkeep", ".gitignore"})
_MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255


class Entry(ABC):
    """A file in an archive. `number` counts files from 1, in the archive's order; `name` is safe to show.

    `parts` is the path: NFC, relative, without "." and ".."; empty where `problem` says that the path is refused.
    """

    # Of an image that need not be decoded.
    known: "Known | None" = None

    def __init__(self, number: int, raw_name: str) -> None:
        self.number = number
        self.name = printable(raw_name)[:_MAX_NAME_BYTES]
        self.parts, self.problem = clean_path(raw_name)

    @property
    def is_junk(self) -> bool:
        """Files that operating systems leave behind."""
        return any(part.casefold() in _JUNK or part.startswith("._") for part in self.parts)

    @abstractmethod
    def write_to(self, target: BinaryIO, limit: int) -> Problem | None:
        """Copy the content, if it has no more than `limit` bytes. Only until the next entry is asked for.

        Raises JobError where the archive as a whole turns out to be a trap.
        """

    def read(self, limit: int) -> bytes | Problem:
        """The content, if it has no more than `limit` bytes; see `write_to`."""
        content = io.BytesIO()
        return self.write_to(content, limit) or content.getvalue()


class Archive(ABC):
    """An opened archive. A context manager."""

    @abstractmethod
    def __iter__(self) -> Iterator[Entry]:
        """Every file, once. Folders are no entries; links and special files are, with their problem."""

    @abstractmethod
    def fraction(self) -> float:
        """How much of the archive has been read, 0 to 1."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def clean_path(raw: str) -> tuple[tuple[str, ...], Problem | None]:
    """The parts of an entry's path, or why it is refused. Backslashes separate too, as in old Windows tools."""
    name = normal("NFC", raw.replace("\\", "/"))

    def refuse(message: str) -> tuple[tuple[str, ...], Problem]:
        return (), Problem("entry_path", message, value=printable(raw)[:200])

    if name.startswith("/") or _DRIVE.match(name):
        return refuse("The path is absolute.")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        return refuse('The path leaves the archive by "..".')
    if not parts or _CONTROL.search(name) or printable(name) != name:
        return refuse("The path is empty or holds control characters.")
    if len(name.encode()) > _MAX_NAME_BYTES or any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        return refuse("The path is too long.")
    return parts, None


class Ledger:
    """Counts what goes into and comes out of the inflater, while it does: sizes in headers are claims, not facts."""

    def __init__(self, limits: IngestLimits) -> None:
        self._limits = limits
        # A handful of flat images may well compress a thousandfold; below this size nobody is hurt.
        self._harmless = limits.max_image_bytes
        self.entries = 0
        self.unpacked = 0

    def entry(self) -> None:
        """One more entry. Raises JobError archive_too_large."""
        self.entries += 1
        if self.entries > self._limits.max_archive_entries:
            message = f"The archive has more than {self._limits.max_archive_entries:,} entries."
            raise JobError("archive_too_large", message)

    def add(self, unpacked: int, packed_so_far: int) -> None:
        """`unpacked` more bytes came out; `packed_so_far` have gone in since the start. Raises JobError."""
        self.unpacked += unpacked
        self.check(self.unpacked, packed_so_far)

    def check(self, unpacked: int, packed: int) -> None:
        """Whether totals are in bounds. Raises JobError archive_bomb, archive_too_large."""
        ratio = self._limits.max_compression_ratio
        if unpacked > self._harmless and unpacked > ratio * max(1, packed):
            raise JobError("archive_bomb", evidence=f"{packed:,} bytes unpack to {unpacked:,} and more.")
        if unpacked > self._limits.max_unpacked_bytes:
            message = f"The archive unpacks to more than {self._limits.max_unpacked_bytes:,} bytes."
            raise JobError("archive_too_large", message)
