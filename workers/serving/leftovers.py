"""What a process that is killed while it takes over a bundle leaves in the cache, which several processes share."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LOCK: Final = "working"
# Names of what is half done: files of workers.storage, folders of workers.serving.bundles.
_HALF_DONE: Final = (".put-*", "open-*")


@contextlib.contextmanager
def working(folder: Path) -> Iterator[None]:
    """Something is half done in the folder while the block runs; the kernel ends that with the process."""
    with open(folder / _LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def remove(folder: Path) -> None:
    """Remove what is half done, unless somebody works here just now."""
    with open(folder / _LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for path in (path for pattern in _HALF_DONE for path in folder.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
