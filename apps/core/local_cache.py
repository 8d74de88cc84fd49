"""Files that this machine can make again at any time: together within a bound, the least recently used go first."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings

_LOCKS: Final = 64
_ABANDONED_S: Final = 3600
_FORGOTTEN_S: Final = 30 * 86_400


class LocalCache:
    """A folder of files, the least recently used removed first. Threads and processes may share it.

    A file is made from an artifact (`source`, its key in storage) and has a `name` among those of the same source.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes
        # Counted only roughly: the folder is measured whenever a twentieth of the bound may have been added.
        self._added = most_bytes

    def find(self, source: str, name: str) -> Path | None:
        """A file, where there is one."""
        path = self._path(source, name)
        return path if _touch(path) else None

    def file(self, source: str, name: str, make: Callable[[Path], None]) -> Path:
        """A file. Where there is none, `make` writes it to the path it is given: once, whoever else asks."""
        path = self._path(source, name)
        if not _touch(path):
            with self._alone(path):
                if not _touch(path):
                    self._make(path, make)
        return path

    def forget(self, source: str) -> None:
        """Remove all files that were made from an artifact."""
        for path in self._path(source, "").parent.glob(f"{_digest(source)}-*"):
            path.unlink(missing_ok=True)

    def _path(self, source: str, name: str) -> Path:
        digest = _digest(source)
        return self._folder / digest[:2] / f"{digest}-{_digest(name)}"

    def _make(self, path: Path, make: Callable[[Path], None]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".making-")
        os.close(descriptor)
        try:
            make(Path(name))
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._added += path.stat().st_size
        if self._added > self._most / 20:
            self._added = 0
            self._trim()

    @contextlib.contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._folder / f"lock-{zlib.crc32(bytes(path)) % _LOCKS}", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _trim(self) -> None:
        """Remove the least recently used until the rest is within nine tenths of the bound."""
        found = sorted(_files(self._folder))
        total = sum(size for _, size, _ in found)
        excess = total - self._most * 9 / 10 if total > self._most else 0
        for used, size, path in found:
            # What a killed process left half made, and what nobody has looked at for a month.
            patience = _ABANDONED_S if os.path.basename(path).startswith(".") else _FORGOTTEN_S
            if used < time.time() - patience or excess > 0:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                excess -= size


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _files(folder: Path) -> Iterator[tuple[float, int, str]]:
    """(last used, bytes, path) of each file below."""
    for part in os.scandir(folder):
        if part.is_dir(follow_symlinks=False):
            for entry in os.scandir(part.path):
                with contextlib.suppress(FileNotFoundError):
                    about = entry.stat(follow_symlinks=False)
                    yield about.st_mtime, about.st_size, entry.path


def _touch(path: Path) -> bool:
    """Mark a file as used; whether it is there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def local_cache() -> LocalCache:
    """The one of this installation's home."""
    return _open(Path(settings.SLIPWAY_HOME) / "cache", int(settings.SLIPWAY_CACHE_BYTES))


_open = cache(LocalCache)
