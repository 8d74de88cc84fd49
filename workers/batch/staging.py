"""Where a batch prediction's file is unpacked, if it comes packed (workers.ingest.unpack.Packed)."""

import shutil
import tempfile
from pathlib import Path

from workers.contracts.job import BatchSpec
from workers.contracts.jobdir import JobDir
from workers.ingest.context import ProgressMeter


class Staging:
    """A context manager; what was unpacked is gone when it is left. A job that goes on unpacks once more."""

    def __init__(self, job_dir: JobDir, spec: BatchSpec) -> None:
        self.source = job_dir.inputs / "source"
        self.filename, self.limits = spec.filename, spec.limits
        self.progress = ProgressMeter(job_dir)
        self._job_dir = job_dir

    def __enter__(self) -> "Staging":
        self.staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=self._job_dir.root))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)

    def leave_out(self, name: str, line: int = 1) -> None:
        """A file of an archive is no table, or not one of those that are answered."""
        self._job_dir.log(f"Left out of the archive: {name}", "warning")
