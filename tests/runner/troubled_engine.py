"""The real engine on a machine in trouble: the model's name says in which.

python -m tests.runner.troubled_engine JOBDIR
"""

import ctypes
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.contracts import jobdir
from workers.engine import __main__ as engine
from workers.engine import checkpoints


def _little_memory() -> None:
    """As if the host had a gigabyte more than Python with torch takes."""
    import torch  # noqa: F401  # what it maps is not what the training is refused

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, resource.RLIM_INFINITY))


def _full_disk() -> None:
    """Checkpoints go to a device on which no byte has room."""

    def write(_path: Path, data: bytes) -> None:
        with open("/dev/full", "wb") as stream:
            stream.write(data)

    checkpoints.write_atomic = write  # type: ignore[attr-defined]
    jobdir.write_atomic = write


def _nan() -> None:
    """Every loss is no number."""
    from torch.nn import functional

    right = functional.cross_entropy
    functional.cross_entropy = lambda *args, **named: right(*args, **named) * float("nan")


def _mixed_up_export() -> None:
    """The exported model has other labels than the one that was evaluated."""
    from workers.engine.classification import TrainedClassifier

    right = TrainedClassifier.certify

    def certify(self: Any, predictor: Any) -> Any:
        predictor.labels = predictor.labels[::-1]
        return right(self, predictor)

    TrainedClassifier.certify = certify  # type: ignore[method-assign]


def _bug() -> None:
    from workers.engine import text

    def train_tokenizer(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("division by zero in /srv/secret/place/file")

    text.train_tokenizer = train_tokenizer


def _segfault() -> None:
    ctypes.string_at(0)


def _endless() -> None:
    threading.Event().wait()


TROUBLES: dict[str, Callable[[], None]] = {
    "little memory": _little_memory,
    "full disk": _full_disk,
    "nan": _nan,
    "mixed up export": _mixed_up_export,
    "bug": _bug,
    "segfault": _segfault,
    "endless": _endless,
}


if __name__ == "__main__":
    spec = jobdir.JobDir(sys.argv[1]).spec()
    assert spec.train is not None
    if spec.train.model_name in TROUBLES:
        TROUBLES[spec.train.model_name]()
    sys.exit(engine.main(sys.argv[1:]))
