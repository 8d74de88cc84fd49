"""Fetching a file from a user's address into storage, for a look at it before anything is imported.

What is known of it stands in Redis (workers.contracts.fetching), where the control plane puts it when it asks and takes
it away when nobody wants the file any more.
"""

import logging
import threading
import time
from typing import Any

import redis

from workers.contracts import names
from workers.contracts.errors import SlipwayError, UserError, of_disk
from workers.contracts.fetching import STATE_TTL_S, TELL_EVERY_S, FetchSpec, FetchState
from workers.contracts.job import InputFile
from workers.runner.attempt import Host
from workers.runner.folders import job_folder
from workers.runner.inputs import fetch_from_afar

log = logging.getLogger(__name__)


def fetch_upload(host: Host, message: str) -> None:
    """Fetch what a FetchSpec (JSON) asks for, if it is still wanted. What goes wrong is told, not raised."""
    spec = FetchSpec.model_validate_json(message)
    course = _Course(host, spec.upload)
    if not course.tell("running"):
        return
    course.start()
    file = InputFile(name="source", key=spec.key, url=spec.url, max_bytes=spec.max_bytes, is_room=spec.is_room)
    stopped = UserError("url_timeout", "The worker that fetched the file was stopped.")
    last: dict[str, Any] = {"state": "failed", "error": stopped.card()}
    try:
        with job_folder(host.home, spec.upload, 1) as folder:
            fetch_from_afar(host.storage, file, folder, host.policy, course.given_up, course.hear)
            if (fetched := folder / file.name).exists():
                last = {"state": "done", "read": fetched.stat().st_size}
    except SlipwayError as error:
        last = {"state": "failed", "error": error.card()}
    except OSError as error:
        # The folder itself could not be made.
        last = {"state": "failed", "error": of_disk(error).card()}
    finally:
        course.close()
        course.tell(**last)


class _Course(threading.Thread):
    """Says every second how far the fetch is, also while nothing comes, and notices when it is not wanted any more."""

    def __init__(self, host: Host, upload: str) -> None:
        super().__init__(name="fetching", daemon=True)
        self.given_up = threading.Event()
        self._host, self._key = host, names.fetch_key(upload)
        self._over = threading.Event()
        self._read = 0
        self._size: int | None = None

    def hear(self, read: int, size: int | None) -> None:
        """How far it is."""
        self._read, self._size = read, size

    def tell(self, state: str, **more: Any) -> bool:
        """Write it down; False where nobody asks for it any more."""
        said = FetchState.model_validate(
            {"state": state, "time": time.time(), "read": self._read, "size": self._size, **more}
        )
        try:
            return bool(self._host.client.set(self._key, said.model_dump_json(), xx=True, ex=STATE_TTL_S))
        except redis.RedisError as error:
            log.warning("how far a fetch is was not told: %s", type(error).__name__)
            return True

    def close(self) -> None:
        """No more words by itself."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """Tell, and look whether to go on."""
        while not self._over.wait(TELL_EVERY_S):
            if not self.tell("running") or self._host.stopping.is_set():
                self.given_up.set()
