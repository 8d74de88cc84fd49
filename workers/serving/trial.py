"""Opening a bundle first where it can do no harm: in a child that may die.

A model can end the process that runs it (a division that traps, a stack or memory without end), and no exception tells
of it. So a helper is forked while the process is young and has no threads; for each new bundle it forks a child that
opens it, and says whether the child lived. Forks share memory, so that a trial costs hardly more than the loading.
"""

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import structlog

from workers.contracts.errors import UserError
from workers.serving import bundles

log = structlog.get_logger(__name__)

# Seconds after which a bundle that is not open by then is given up.
PATIENCE_S: Final = 120
_MAX_PATH: Final = 4096
_LIVED, _TOO_LONG = "0", str(-signal.SIGALRM.value)


class Trial:
    """The helper. Make it before any thread is started; use it from one thread at a time."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self._helper = os.fork()
        if self._helper == 0:
            self._ours.close()
            _help(theirs)
        theirs.close()

    def check(self, path: Path, variant: str) -> None:
        """Raises UserError `bundle_invalid` where opening the bundle's model, or a variant of it, ends a process.

        What passes is remembered beside the bundle: it is not tried again.
        """
        passed = path.with_suffix(f".{variant or 'model'}.tried")
        if passed.exists():
            return
        try:
            self._ours.send(os.fsencode(path) + b"\0" + variant.encode())
            answer = self._ours.recv(_MAX_PATH).decode()
        except OSError:
            answer = ""
        if not answer:
            # Somebody ended the helper. Serving without it is better than not serving.
            log.warning("bundle not tried", bundle=path.stem)
        elif answer == _LIVED:
            passed.touch()
        else:
            log.warning("bundle failed its trial", bundle=path.stem, ended=answer)
            why = "it takes too long to load" if answer == _TOO_LONG else "loading it ends the process"
            raise UserError("bundle_invalid", f"The bundle is not acceptable: {why}.")

    def close(self) -> None:
        """End the helper, and a trial that is running."""
        self._ours.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._helper, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._helper, 0)


def _help(requests: socket.socket) -> None:
    """The helper's life: until the process that forked it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = 0

    def end(*_: object) -> None:
        if child:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    try:
        while request := requests.recv(_MAX_PATH):
            bundles.prepare()  # once, and not again in each child
            child = os.fork()
            if child == 0:
                path, _, variant = request.partition(b"\0")
                _try(Path(os.fsdecode(path)), variant.decode())
            _, status = os.waitpid(child, 0)
            child = 0
            requests.send(str(os.waitstatus_to_exitcode(status)).encode())
    finally:
        os._exit(0)


def _try(path: Path, variant: str) -> None:
    """The child's life: open the bundle. An error is no harm, and is met again by whoever asked."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(PATIENCE_S)
    code = 1
    try:
        # Where memory runs out, this one goes first.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        bundles.open_bundle(path, variant)
        code = 0
    except Exception:
        code = 0
    finally:
        os._exit(code)
