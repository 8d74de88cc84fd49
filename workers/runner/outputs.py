"""From the job's folder to storage: checkpoints while it runs, and the result at the end.

The child may have put anything there: only plain files with harmless names and the announced content are taken.
"""

import contextlib
import hashlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from workers.contracts import nul
from workers.contracts.errors import JobError, SlipwayError
from workers.contracts.events import Checkpoint, FileRef
from workers.contracts.job import JobSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import BatchResult, IngestResult, TrainResult
from workers.runner.folders import open_plain
from workers.runner.patience import patiently
from workers.storage import Storage

_LARGEST_RESULT: Final = 64 * 2**20
_RESULTS: Final[dict[str, type[BaseModel]]] = {"train": TrainResult, "ingest": IngestResult, "batch": BatchResult}
_FILES: Final = TypeAdapter(list[FileRef])
_KEPT_CHECKPOINTS: Final = 2


def read_result(job_dir: JobDir, spec: JobSpec) -> dict[str, Any] | None:
    """result.json, checked; None where the child wrote none. Raises JobError `job_crashed`."""
    if not os.path.lexists(job_dir.result_path):
        return None
    try:
        with open_plain(job_dir.result_path) as stream:
            content = stream.read(_LARGEST_RESULT + 1)
        if len(content) > _LARGEST_RESULT:
            raise ValueError("it is too large")
        if nul.is_in(content):
            raise ValueError("it holds a NUL character")
        result: dict[str, Any] = json.loads(content)
        _RESULTS[spec.kind].model_validate(result)
        _files(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{error.error_count()} wrong field(s)" if isinstance(error, ValidationError) else str(error)
        raise JobError("job_crashed", "The job left a result that is not valid.", evidence=problem[:400]) from None
    return result


def _files(result: dict[str, Any]) -> list[FileRef]:
    return _FILES.validate_python([{"name": name, **facts} for name, facts in result["files"].items()])


def _verify(path: Path, file: FileRef) -> None:
    try:
        with open_plain(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        digest = ""
    if digest != file.sha256:
        raise JobError("job_crashed", "The job left a file that is not the one it announced.", evidence=file.name)


def upload_result(
    storage: Storage,
    job_dir: JobDir,
    spec: JobSpec,
    result: dict[str, Any],
    given_up: threading.Event,
    tell: Callable[[], object],
) -> bool:
    """Store output/ and then, as the sign that all of it is there, result.json. Raises JobError.

    A store that fails is tried again, and `tell` called, until it works: what took hours to compute is not thrown away
    for it. False where `given_up` was set before the end.
    """
    files = _files(result)
    for file in files:
        _verify(job_dir.output / file.name, file)
    paths = [(job_dir.output / file.name, f"{spec.output_prefix}/output/{file.name}") for file in files]
    paths.append((job_dir.result_path, f"{spec.output_prefix}/result.json"))
    return all(patiently(partial(storage.put_file, path, key), given_up, tell=tell) for path, key in paths)


class CheckpointUploader:
    """Stores announced checkpoints in a thread of its own, so that a slow store stops nothing.

    Where several wait, only the newest is worth it.
    """

    def __init__(self, storage: Storage, job_dir: JobDir, spec: JobSpec) -> None:
        self._storage, self._job_dir, self._spec = storage, job_dir, spec
        self._changed = threading.Condition()
        self._next: Checkpoint | None = None
        self._busy = False
        self._closed = False
        self._stored: deque[Checkpoint] = deque()
        self._kept: deque[Checkpoint] = deque()
        # By name: the hash of what is stored. Checkpoints of many parts add one at a time.
        self._have: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def offer(self, checkpoint: Checkpoint) -> None:
        """Store this checkpoint as soon as possible."""
        with self._changed:
            self._next = checkpoint
            self._changed.notify_all()

    def stored(self) -> list[Checkpoint]:
        """The checkpoints that were stored since the last call."""
        with self._changed:
            found = list(self._stored)
            self._stored.clear()
        return found

    def close(self, patience_s: float) -> None:
        """Wait so long for what is under way, then take no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is None and not self._busy, patience_s)
            self._closed = True
            self._changed.notify_all()

    def discard(self) -> None:
        """The job is done and nobody resumes from it any more: remove its checkpoints. What fails is left lying."""
        prefix = f"{self._spec.output_prefix}/checkpoints"
        own = {f"{prefix}/{file.name}" for kept in self._kept for file in kept.files}
        resumed = {file.key for file in self._spec.resume if file.key.startswith(f"jobs/{self._spec.job}/")}
        for key in own | resumed:
            with contextlib.suppress(SlipwayError):
                self._storage.delete(key)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._next is not None)
                if self._closed or self._next is None:
                    return
                checkpoint, self._next, self._busy = self._next, None, True
            try:
                self._store(checkpoint)
            except (SlipwayError, OSError):
                continue  # the next checkpoint may have more luck; this one is not announced
            with self._changed:
                self._stored.append(checkpoint)

    def _store(self, checkpoint: Checkpoint) -> None:
        prefix = f"{self._spec.output_prefix}/checkpoints"
        for file in checkpoint.files:
            if self._have.get(file.name) == file.sha256:
                continue
            _verify(self._job_dir.checkpoints / file.name, file)
            self._have.pop(file.name, None)
            self._storage.put_file(self._job_dir.checkpoints / file.name, f"{prefix}/{file.name}")
            self._have[file.name] = file.sha256
        self._kept.append(checkpoint)
        if len(self._kept) > _KEPT_CHECKPOINTS:
            current = {file.name for kept in list(self._kept)[1:] for file in kept.files}
            for file in self._kept.popleft().files:
                if file.name not in current:
                    self._have.pop(file.name, None)
                    self._storage.delete(f"{prefix}/{file.name}")
