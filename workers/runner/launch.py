"""First code of a child process: die with the runner, dump no core, stand back, then become the real program.

    python launch.py RUNNER_PID PROGRAM ARGUMENTS…

A file of its own that is run by path, and not a preexec_fn: the runner has threads, and between fork and exec of a
process with threads hardly any Python is safe.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Steps of niceness: on a machine that does all, pages (0) and predictions (3) go before work that takes minutes.
_BEHIND = 15


def main(arguments: list[str]) -> None:
    """Prepare this process and replace it by the program. Does not return."""
    runner, program = int(arguments[0]), arguments[1:]
    if sys.platform.startswith("linux"):
        # The kernel kills us when the runner is gone, even by SIGKILL.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != runner:  # it died before the line above
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_BEHIND)
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
