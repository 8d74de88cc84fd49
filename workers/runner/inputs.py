"""From storage into the job's folder, each file checked by its hash where that is known."""

import shutil
import threading
from pathlib import Path
from typing import Final

from workers.contracts.errors import JobError, SlipwayError, UserError
from workers.contracts.job import InputFile, JobSpec
from workers.contracts.jobdir import JobDir
from workers.fetch import files
from workers.fetch.http import Progress
from workers.fetch.policy import Policy
from workers.runner.patience import patiently
from workers.storage import Storage

# So long a job waits for its files.
PATIENCE_S: Final = 900.0


def fetch_inputs(storage: Storage, spec: JobSpec, job_dir: JobDir, given_up: threading.Event) -> None:
    """Fill inputs/ with what lies in storage, unless `given_up` is set.

    Raises JobError `input_corrupt`, `artifact_missing`; InfraError.
    """
    for file in spec.inputs:
        if not file.url:
            _fetch(storage, file, job_dir.inputs, given_up)


def _fetch(storage: Storage, file: InputFile, folder: Path, given_up: threading.Event) -> None:
    def get() -> None:
        storage.get_file(file.key, folder / file.name, file.sha256)

    patiently(get, given_up, within_s=PATIENCE_S, final="disk_full")


def fetch_from_afar(
    storage: Storage, file: InputFile, folder: Path, policy: Policy, given_up: threading.Event, progress: Progress
) -> None:
    """Fill inputs/ with a file from a user's address; also into storage, where the next attempt finds it.

    Raises UserError `url_*`, `storage_full`; InfraError.
    """
    known = False

    def look() -> None:
        nonlocal known
        known = storage.exists(file.key)

    if not patiently(look, given_up, within_s=PATIENCE_S):
        return
    if known:
        _fetch(storage, file, folder, given_up)
        return
    try:
        files.fetch(
            file.url, folder / file.name, policy=policy, max_bytes=file.max_bytes, given_up=given_up, progress=progress
        )
    except SlipwayError as error:
        if given_up.is_set():
            return
        if error.code == "url_too_large" and file.is_room:
            message = "The file is larger than what is left of the team's storage."
            raise UserError("storage_full", message, room_bytes=file.max_bytes) from None
        raise
    patiently(lambda: storage.put_file(folder / file.name, file.key), given_up, within_s=PATIENCE_S)


def fetch_checkpoint(storage: Storage, spec: JobSpec, job_dir: JobDir, given_up: threading.Event) -> None:
    """Fill checkpoints/, wholly or not at all. Raises JobError `checkpoint_corrupt`, InfraError."""
    try:
        for file in spec.resume:
            _fetch(storage, file, job_dir.checkpoints, given_up)
    except JobError as error:
        shutil.rmtree(job_dir.checkpoints)
        job_dir.checkpoints.mkdir(mode=0o700)
        raise JobError("checkpoint_corrupt", evidence=error.evidence) from None
