"""python -m workers.ingest JOBDIR: import one file. Exit status 0, 1 (failed, with a card), 143 (told to stop)."""

import errno
import signal
import sys
import traceback
from types import FrameType

from workers.ingest import guard

guard.quiet_libraries()
guard.bound_memory(guard.INGEST_BYTES)

from workers.contracts.errors import JobError, SlipwayError  # noqa: E402 - the bounds come first
from workers.contracts.jobdir import JobDir  # noqa: E402


def _stop(signum: int, frame: FrameType | None) -> None:
    # As an exception, so that files are closed and staging is removed on the way out.
    raise SystemExit(128 + signum)


def _as_job_error(error: Exception) -> SlipwayError:
    """What the user is told. Bugs are told as such, with no more than the exception's name."""
    if isinstance(error, SlipwayError):
        return error
    if isinstance(error, MemoryError):
        return JobError("out_of_memory", "The import needs more memory than it may use.", hint="Split the file.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobError("disk_full")
    traceback.print_exc()
    return JobError("job_crashed", evidence=type(error).__name__)


def main(arguments: list[str]) -> int:
    """Run one import in the folder that the one argument names."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    job_dir = JobDir(arguments[0])
    try:
        from workers.ingest.run import run

        job_dir.write_result(run(job_dir).model_dump())
    except Exception as error:
        job_dir.fail(_as_job_error(error).card())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
