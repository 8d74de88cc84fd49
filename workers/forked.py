"""A job's program whose work is done in a forked process. Exit status 0, 1 (failed, with a card), 143 (told to stop).

A damaged file can abort a native decoder (Arrow throws where nobody catches), and the user is owed a card all the same:
the waiting process writes it. Standard library and contracts only: bounds are set before anything large is imported.
"""

import ctypes
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from workers.contracts.errors import JobError, SlipwayError, is_full
from workers.contracts.jobdir import JobDir

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str], work: Callable[[JobDir], None], *, what: str, resumes: bool = False) -> int:
    """Do `work` in the folder that the one argument names; `what` it is called: "import".

    Work that `resumes` from a checkpoint and is killed ends by that signal, so that the runner starts it again.
    """
    if len(arguments) != 1:
        print("One argument is expected: the job's folder.", file=sys.stderr)
        return 2
    job_dir = JobDir(arguments[0])
    # A signal that comes between the fork and the handlers waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    signal.signal(signal.SIGTERM, (lambda signum, frame: os.kill(child, signum)) if child else _stop)
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return _wait(child, job_dir, what, resumes)
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        status = _work(job_dir, work, what)
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        # Not sys.exit: the frames below this one belong to the waiting process.
        sys.stderr.flush()
        os._exit(status)


def _stop(signum: int, frame: FrameType | None) -> None:
    # A second one, to the whole process group for example, must not disturb the cleaning up.
    signal.signal(signum, signal.SIG_IGN)
    # As an exception, so that files are closed and staging is removed on the way out.
    raise SystemExit(128 + signum)


def _work(job_dir: JobDir, work: Callable[[JobDir], None], what: str) -> int:
    """The work itself, in the forked process."""
    # Nobody may be left working in the folder if the waiting process is killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        work(job_dir)
    except Exception as error:
        job_dir.fail(_as_job_error(error, what).card())
        return 1
    return 0


def _as_job_error(error: Exception, what: str) -> SlipwayError:
    """What the user is told. Bugs are told as such, with no more than the exception's name."""
    if isinstance(error, SlipwayError):
        return error
    if isinstance(error, MemoryError):
        return JobError("out_of_memory", f"The {what} needs more memory than it may use.", hint="Split the file.")
    if is_full(error):
        return JobError("disk_full")
    traceback.print_exc()
    return JobError("job_crashed", evidence=type(error).__name__)


def _wait(child: int, job_dir: JobDir, what: str, resumes: bool) -> int:
    """The child's exit status; where a signal ended it, 1 and a card."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for staging in job_dir.root.glob(".staging-*"):
        shutil.rmtree(staging, ignore_errors=True)
    if status >= 0:
        return status
    if status == -signal.SIGTERM:
        return 128 + signal.SIGTERM
    if status == -signal.SIGKILL and resumes:
        os.kill(os.getpid(), signal.SIGKILL)
    name = signal.Signals(-status).name
    if status == -signal.SIGKILL:
        message = f"The {what} was killed, most likely for the memory it took."
        error = JobError("out_of_memory", message, evidence=name)
    else:
        error = JobError("file_unreadable", "The file is damaged in a way that crashes its reader.", evidence=name)
    job_dir.fail(error.card())
    return 1
