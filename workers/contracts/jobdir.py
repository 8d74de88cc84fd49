"""A job's folder, as its child process sees it: the only thing an engine or an ingest knows of the world."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Self, Unpack

from workers.contracts.errors import ErrorCard
from workers.contracts.events import (
    Checkpoint,
    Device,
    Event,
    Failed,
    FileRef,
    Log,
    Metric,
    Pace,
    Progress,
    Usage,
    UsageBlock,
)
from workers.contracts.job import JobSpec


class JobDir:
    """spec.json, inputs/, checkpoints/, output/, events.jsonl and, last of all, result.json."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.inputs = self.root / "inputs"
        self.checkpoints = self.root / "checkpoints"
        self.output = self.root / "output"
        self.events_path = self.root / "events.jsonl"
        self.result_path = self.root / "result.json"

    @classmethod
    def create(cls, root: str | Path, spec: JobSpec) -> Self:
        """Make the folder and write the spec."""
        job_dir = cls(root)
        for folder in (job_dir.inputs, job_dir.checkpoints, job_dir.output):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomic(job_dir.root / "spec.json", spec.model_dump_json().encode())
        return job_dir

    def spec(self) -> JobSpec:
        """The spec. Raises pydantic.ValidationError where it is not one."""
        return JobSpec.model_validate_json((self.root / "spec.json").read_bytes())

    def emit(self, event: Event) -> None:
        """Append one event. One write call per line, so that a reader never sees two halves mixed."""
        line = event.model_dump_json(exclude_none=True).encode() + b"\n"
        with open(self.events_path, "ab", buffering=0) as stream:
            stream.write(line)

    def progress(self, fraction: float, phase: str, **pace: Unpack[Pace]) -> None:
        """Say how far the job is."""
        bounded = min(1.0, max(0.0, fraction))
        self.emit(Progress(time=time.time(), fraction=bounded, phase=phase, **pace))

    def metric(self, step: int, values: dict[str, float]) -> None:
        """Say what was measured at a step."""
        self.emit(Metric(time=time.time(), step=step, values=values))

    def log(self, message: str, level: str = "info") -> None:
        """Say something to the user; cut to 4,000 characters."""
        self.emit(Log.model_validate({"time": time.time(), "level": level, "message": message[:4000]}))

    def device(self, device: str) -> None:
        """Say what the job computes on."""
        self.emit(Device(time=time.time(), device=device))

    def checkpoint(self, step: int, names: list[str]) -> None:
        """Announce complete files in checkpoints/."""
        files = [file_ref(self.checkpoints / name) for name in names]
        self.emit(Checkpoint(time=time.time(), step=step, files=files))

    def usage(self, blocks: list[UsageBlock]) -> None:
        """Say what was used."""
        self.emit(Usage(time=time.time(), blocks=blocks))

    def fail(self, card: ErrorCard) -> None:
        """Say why the job ends without a result."""
        self.emit(Failed(time=time.time(), error=card))

    def write_result(self, result: dict[str, Any]) -> None:
        """Declare the job done. `result["files"]` is filled with every file of output/, name → {sha256, bytes}."""
        files = {}
        for path in sorted(self.output.iterdir()):
            if path.is_symlink() or not path.is_file():
                raise ValueError(f"output/ holds something that is not a plain file: {path.name}")
            ref = file_ref(path)
            files[ref.name] = {"sha256": ref.sha256, "bytes": ref.bytes}
        write_atomic(self.result_path, json.dumps({**result, "files": files}, allow_nan=False).encode())


def file_ref(path: Path) -> FileRef:
    """Name, size in bytes and sha256 of a file."""
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileRef(name=path.name, sha256=digest, bytes=path.stat().st_size)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill at any moment, finds the old content or the new, never a mix."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
