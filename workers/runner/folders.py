"""Job folders under SLIPWAY_HOME/jobs: one per attempt, readable by nobody else, gone when it is over."""

import contextlib
import fcntl
import io
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LOCK: Final = "lock"
# Longer than it takes from making a folder to locking it.
_TOO_YOUNG_S: Final = 60.0


@contextlib.contextmanager
def job_folder(home: Path, job: str, attempt: int) -> Iterator[Path]:
    """A new empty folder for the length of the block. A lock beside it, which ends with us, says that it is in use."""
    folders = home / "jobs"
    folders.mkdir(mode=0o700, parents=True, exist_ok=True)
    slot = Path(tempfile.mkdtemp(prefix=f"{job}-{attempt}-", dir=folders))  # mode 700
    try:
        with open(slot / _LOCK, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            work = slot / "work"
            work.mkdir(mode=0o700)
            yield work
    finally:
        shutil.rmtree(slot, ignore_errors=True)


def clear_leftovers(home: Path) -> int:
    """Remove the folders of runners that were killed; how many there were."""
    found = 0
    for slot in (home / "jobs").glob("*/"):
        if _is_abandoned(slot):
            shutil.rmtree(slot, ignore_errors=True)
            found += 1
    return found


def _is_abandoned(slot: Path) -> bool:
    try:
        with open(slot / _LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except OSError:
        with contextlib.suppress(OSError):
            return time.time() - os.stat(slot).st_mtime > _TOO_YOUNG_S
        return False


def open_plain(path: Path) -> io.BufferedReader:
    """A file that the child wrote, for reading. Raises OSError for links, ValueError for whatever is no plain file."""
    # Opening a pipe without O_NONBLOCK would wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a plain file")
    return os.fdopen(descriptor, "rb")
