"""`python -m workers.engine JOBDIR`: one training, from the spec to a certified bundle.

Exit codes: 0 with a result; 1 after a `failed` event; 143 on SIGTERM. Anything else is a crash, for the runner to tell.
"""

import errno
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from workers.contracts.errors import JobError, SlipwayError
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import TrainResult
from workers.engine.packing import pack
from workers.engine.run import Run
from workers.task_templates import TEMPLATES


def main(arguments: list[str]) -> int:
    """Train what JOBDIR's spec says. The exit code."""
    if len(arguments) != 1:
        print("usage: python -m workers.engine JOBDIR", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    job_dir = JobDir(arguments[0])
    try:
        train(job_dir)
    except Exception as error:  # the boundary: every failure becomes a card
        if not isinstance(error, SlipwayError):
            traceback.print_exc()
        try:
            job_dir.fail(as_job_error(error).card())
        except OSError:
            # Not even the card could be written: the runner will tell by the exit code.
            return 1
        return 1
    return 0


def train(job_dir: JobDir) -> TrainResult:
    """Train, evaluate, export, certify; the result, which is also in result.json. Raises JobError and others."""
    spec = job_dir.spec()
    if spec.train is None or spec.train.template not in TEMPLATES:
        raise JobError("template_unknown")
    template = TEMPLATES[spec.train.template]
    run = Run(job_dir, spec, template.resolve(spec.train.preset, spec.train.parameters))
    run.progress(0.0, "Starting")
    job_dir.device(run.device_label)
    trained = template.train(run)
    run.progress(0.9, "Testing")
    metrics, report = trained.evaluate()
    run.progress(0.93, "Exporting")
    manifest = pack(run, template, trained, metrics)
    certificate = manifest.certificate
    run.log(f"The exported model gives the trained one's answer on all {certificate.examples:,} test examples.")
    result = TrainResult(
        metrics=metrics,
        report=report,
        certificate=certificate,
        manifest=manifest,
        useful_seconds=round(run.useful_seconds(), 3),
    )
    run.progress(1.0, "Done")
    job_dir.write_result(result.model_dump(mode="json", exclude={"files"}))
    return result


def as_job_error(error: Exception) -> SlipwayError:
    """What ends the job, as an error of the catalogue."""
    if isinstance(error, SlipwayError):
        return error
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate memory" in str(error):
        return JobError("out_of_memory", evidence=_last_line(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return JobError("disk_full")
    if isinstance(error, ValidationError):
        return JobError("job_crashed", evidence="The job's spec cannot be read.")
    return JobError("job_crashed", evidence=_last_line(error))


def _last_line(error: Exception) -> str:
    """Type, message and place of an error; of the place only module and line, of the message one line."""
    place = ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if f"{os.sep}workers{os.sep}" in frame.filename:
            place = f" ({Path(frame.filename).stem}:{frame.lineno})"
            break
    message = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {message}{place}"


def _stop(_signal: int, _frame: FrameType | None) -> None:
    # At once: the checkpoint is the newest safe state, and nobody waits for more.
    os._exit(143)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
