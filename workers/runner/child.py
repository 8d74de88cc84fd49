"""The child process of a job: started in its own process group, knowing only its folder; ended for sure."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Final

from workers.runner import launch

ROOT: Final = Path(__file__).resolve().parents[2]
# What a child may know of our environment: no REDIS_URL, no DATABASE_URL, no key of any store.
_PASSED: Final = ("PATH", "LANG", "LC_ALL", "TZ", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
# Where encoders are and come from. Never HF_TOKEN: what a token opens is not every team's.
_PASSED_ENCODERS: Final = ("SLIPWAY_ENCODERS", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "SSL_CERT_FILE")
_PASSED_PREFIXES: Final = ("OMP_", "MKL_", "OPENBLAS_", "CUBLAS_", "NVIDIA_", "ORT_", "PYTORCH_")
_KEPT_LINES: Final = 40
_LONGEST_LINE: Final = 2000
_PATH: Final = re.compile(r"(?:/[^\s/:'\"]+)+/([^\s/:'\"]+)")


class Child:
    """`python -m MODULE JOBDIR`, running. `home` is the runner's: encoders lie there, where nothing else is said."""

    def __init__(self, module: str, job_dir: Path, home: Path) -> None:
        scratch = job_dir / "tmp"
        scratch.mkdir(mode=0o700, exist_ok=True)
        command = [sys.executable, "-SE", launch.__file__, str(os.getpid()), sys.executable, "-m", module, str(job_dir)]
        self._process = subprocess.Popen(
            command,
            cwd=job_dir,
            env=_environment(job_dir, scratch, home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._exit_code: int | None = None
        self._last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        assert self._process.stdout
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        if self._exit_code is None:
            # The zombie is kept until `end`: as long as it is there, nobody else gets its number.
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found:
                self._exit_code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        return self._exit_code

    def ask_to_end(self) -> None:
        """SIGTERM to the whole group, if it has not ended."""
        if self.exit_code() is None:
            self._signal(signal.SIGTERM)

    def end(self) -> None:
        """SIGKILL to the whole group, then what is left of the child is cleared away. To be called once, last."""
        self._signal(signal.SIGKILL)
        while self.exit_code() is None:
            time.sleep(0.01)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def last_words(self) -> str:
        """The last lines that the child wrote, for an error card: without folders, cut short."""
        self._reader.join(1.0)
        text = "\n".join(self._last_lines)
        return _PATH.sub(r"\1", text)[-4000:]

    def _read(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            while line := stream.readline(_LONGEST_LINE):
                self._last_lines.append(line.decode("utf-8", "replace").rstrip().replace("\x00", "�"))


def _environment(job_dir: Path, scratch: Path, home: Path) -> dict[str, str]:
    names = {*_PASSED, *_PASSED_ENCODERS}
    passed = {name: value for name, value in os.environ.items() if name in names or name.startswith(_PASSED_PREFIXES)}
    return {
        "LANG": "C.UTF-8",
        "SLIPWAY_ENCODERS": str(home / "encoders"),
        "HF_HOME": str(home / "cache" / "huggingface"),
        **passed,
        "HOME": str(job_dir),
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
