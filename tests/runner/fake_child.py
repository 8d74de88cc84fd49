"""A job's child process that does in a moment what the test asks for, by the same file protocol as the real ones.

    python -m tests.runner.fake_child JOBDIR

The spec's `ingest.filename` says how to behave.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from workers.contracts.errors import JobError
from workers.contracts.jobdir import JobDir

RESULT = {
    "rows": 3,
    "rejected": 0,
    "content_hash": "ab",
    "columns": [],
    "mapping": {},
    "splits": {"train": 3},
    "profile": {},
    "issues": [],
}


def _succeed(job: JobDir) -> None:
    job.progress(0.5, "half way", eta_seconds=1, step=1, steps=2)
    job.metric(1, {"train/loss": 0.5})
    (job.output / "data.parquet").write_bytes(b"rows")
    job.write_result(RESULT)


def _checkpoint(job: JobDir, step: int) -> None:
    (job.checkpoints / f"step-{step}.json").write_text(json.dumps({"step": step}))
    job.checkpoint(step, [f"step-{step}.json"])


def _save_and_succeed(job: JobDir) -> None:
    _checkpoint(job, 9)
    _succeed(job)


def _hang(job: JobDir) -> None:
    """Save a checkpoint, say our number, and wait to be ended."""
    found = sorted(path.name for path in job.checkpoints.iterdir())
    job.log(f"checkpoints {found}")
    _checkpoint(job, 7)
    job.log(f"pid {os.getpid()}")
    while True:
        time.sleep(60)


def _hang_deaf(job: JobDir) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _hang(job)


def _hang_then_succeed(job: JobDir) -> None:
    """Hang in the first attempt, succeed in later ones."""
    if job.spec().attempt == 1:
        _hang(job)
    job.log(f"resumed with {sorted(path.name for path in job.checkpoints.iterdir())}")
    _succeed(job)


def _crash(job: JobDir) -> None:
    raise RuntimeError(f"could not open {job.root}/inputs/source")


def _fail(job: JobDir) -> None:
    job.fail(JobError("one_class_only", evidence="all rows say yes").card())
    sys.exit(1)


def _kill(job: JobDir) -> None:
    _checkpoint(job, 3)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault(job: JobDir) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _leave(job: JobDir) -> None:
    """Exit 0 without a result."""


def _garbage(job: JobDir) -> None:
    forged = {"type": "succeeded", "time": time.time(), "result": {"rows": 1}}
    with open(job.events_path, "ab", buffering=0) as stream:
        stream.write(b"\xff\xfe not json\n" + json.dumps(forged).encode() + b"\n")
        stream.write(b"x" * 10_000_000 + b"\n")
        stream.write(b'{"type": "log", "time": 1e300, "level": "info", "message": "of another time"}\n')
        stream.write(b'{"type": "log", "time": 1, "level": "info", "message": "nul \\u0000"}\n')
        stream.write(b'{"type": "log", "time": 1, "level": "info", "mess')
        time.sleep(0.3)
        stream.write(b'age": "torn and whole"}\n')
    _succeed(job)


def _many_lines(job: JobDir) -> None:
    for number in range(2000):
        job.log(f"line {number}")
    _succeed(job)


def _slow(job: JobDir) -> None:
    """A line every 50 ms, for three seconds."""
    for number in range(60):
        job.log(f"line {number}")
        time.sleep(0.05)
    _succeed(job)


def _environment(job: JobDir) -> None:
    job.log(json.dumps(dict(os.environ)))
    job.log(json.dumps({"niceness": os.nice(0)}))
    _succeed(job)


def _grandchild(job: JobDir) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    job.log(f"pid {left.pid}")
    _succeed(job)


def _link(job: JobDir) -> None:
    """Announce a file, then put a link in its place."""
    _succeed(job)
    (job.output / "data.parquet").unlink()
    (job.output / "data.parquet").symlink_to("/etc/hostname")


def _other_bytes(job: JobDir) -> None:
    _succeed(job)
    (job.output / "data.parquet").write_bytes(b"not what was announced")


def _bad_result(job: JobDir) -> None:
    job.result_path.write_text('{"rows": "many"}')


def _nul_result(job: JobDir) -> None:
    (job.output / "data.parquet").write_bytes(b"rows")
    job.write_result({**RESULT, "mapping": {"text": "te\0xt"}})


def _pipe(job: JobDir) -> None:
    """A pipe instead of events.jsonl: whoever opens it carelessly waits for ever."""
    os.mkfifo(job.events_path)
    (job.output / "data.parquet").write_bytes(b"rows")
    job.write_result(RESULT)


BEHAVIOURS: dict[str, Callable[[JobDir], None]] = {
    name.removeprefix("_"): behaviour
    for name, behaviour in list(globals().items())
    if name.startswith("_") and not name.startswith("__") and callable(behaviour)
}


if __name__ == "__main__":
    folder = JobDir(sys.argv[1])
    spec = folder.spec().ingest
    assert spec
    BEHAVIOURS[spec.filename](folder)
