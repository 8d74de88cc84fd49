"""One import at work: where it reads and writes, what it has found, how far it is."""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from workers.contracts.errors import JobError
from workers.contracts.job import IngestLimits, IngestSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import IngestResult
from workers.ingest.findings import Findings
from workers.ingest.issues import Issues
from workers.ingest.records import Problem, Record
from workers.ingest.rejects import RejectFile

if TYPE_CHECKING:
    import pyarrow as pa

    from workers.ingest.stage import Stage

_SECONDS_BETWEEN_EVENTS = 0.5
# The share of an import that reading is; the rest is writing.
READ_SHARE = 0.85
ERRORS = "errors.csv"


class OtherwiseError(Exception):
    """The first rows misled: the import begins again with what all of them say. `found`: attributes of Import."""

    def __init__(self, **found: bool) -> None:
        super().__init__(found)
        self.found = found


class Import:
    """A context manager; staging files are gone when it is left, however it is left."""

    def __init__(self, job_dir: JobDir, spec: IngestSpec) -> None:
        self.job_dir = job_dir
        self.spec = spec
        self.limits: IngestLimits = spec.limits
        self.source: Path = job_dir.inputs / "source"
        names = [spec.filename, *spec.more]
        # The files to import, with their owner's names.
        self.files = [
            (job_dir.inputs / (f"source-{place}" if place else "source"), name) for place, name in enumerate(names)
        ]
        # Whether rows have several labels each, where that is not for the rows to say.
        self.several: bool | None = None
        # Whether days come before months in dates with slashes, where that is known beforehand.
        self.day_first: bool | None = None
        self.issues = Issues(spec.limits.max_examples_per_issue)
        self.findings = Findings()
        self.progress = ProgressMeter(job_dir)
        self._rejects: RejectFile | None = None
        self._staging: Path | None = None
        self._staged: Stage | None = None

    def __enter__(self) -> "Import":
        self._staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=self.job_dir.root))
        return self

    def __exit__(self, *_: object) -> None:
        self.close_rejects()
        if self._staging:
            shutil.rmtree(self._staging, ignore_errors=True)

    @property
    def staging(self) -> Path:
        """A folder that is gone at the end."""
        if self._staging is None:
            raise RuntimeError("an Import must be entered before it is used")
        return self._staging

    def stage(self, schema: "pa.Schema") -> "Stage":
        """Where rows are put as they are read, before it is known which split they belong to."""
        # A look at an upload gets along without it.
        from workers.ingest.stage import Stage

        self._staged = Stage(self.staging / "staged.arrow", schema)
        return self._staged

    @property
    def staged(self) -> "Stage":
        """The rows that were read."""
        if self._staged is None:
            raise RuntimeError("rows must be staged before they are used")
        return self._staged

    @property
    def data(self) -> Path:
        """The result."""
        return self.job_dir.output / "data.parquet"

    def leave_out(self, name: str, line: int = 1) -> None:
        """A file of an archive is not part of the data: told among the issues."""
        self.issues.add("file_left_out", "warning", line=line, value=name)

    def open_rejects(self, columns: list[str]) -> None:
        """Start errors.csv with the original columns."""
        self._rejects = RejectFile(self.job_dir.output / ERRORS, columns)

    def reject(self, record: Record, problem: Problem) -> None:
        """Put a record into errors.csv and its problem among the issues."""
        if self._rejects is None:
            raise RuntimeError("errors.csv has not been opened")
        self._rejects.add(record, problem)
        value = problem.value or " | ".join(record.fields)
        self.issues.add(problem.code, "error", line=record.line, column=problem.column, value=value)

    def close_rejects(self) -> None:
        """errors.csv is complete."""
        if self._rejects:
            self._rejects.close()

    def write_rejected(self, error: JobError) -> None:
        """result.json of an import that fails although rows were read: those that were rejected, and why it failed."""
        self.close_rejects()
        if not self.rejected:
            return
        for path in self.job_dir.output.iterdir():
            if path.name != ERRORS:
                path.unlink()
        told = IngestResult(
            rows=0,
            rejected=self.rejected,
            content_hash="",
            columns=[],
            mapping=self.spec.mapping,
            splits={},
            profile={},
            issues=self.issues.as_list(),
            error=error.card(),
        )
        self.job_dir.write_result(told.model_dump())

    @property
    def rejected(self) -> int:
        """How many records have been rejected."""
        return self._rejects.count if self._rejects else 0


class ProgressMeter:
    """Progress events at most twice a second, with the time left by the speed so far."""

    def __init__(self, job_dir: JobDir, clock: Callable[[], float] = time.monotonic) -> None:
        self._job_dir = job_dir
        self._clock = clock
        self._start = clock()
        self._last = float("-inf")

    def report(self, fraction: float, phase: str, *, always: bool = False) -> None:
        """Tell that `fraction` of the whole import is done."""
        now = self._clock()
        if not always and now - self._last < _SECONDS_BETWEEN_EVENTS:
            return
        self._last = now
        elapsed = now - self._start
        eta = elapsed * (1 - fraction) / fraction if fraction > 0.01 and elapsed > 1 else None
        self._job_dir.progress(fraction, phase, eta_seconds=eta)
