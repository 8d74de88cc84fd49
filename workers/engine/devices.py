"""`devices: n`: the engine starts itself again n times under torchrun, and ends as its processes end."""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

from workers.contracts.errors import ErrorCard
from workers.contracts.job import JobSpec
from workers.contracts.jobdir import JobDir, write_atomic

_PR_SET_PDEATHSIG = 1
# From one process that ran out of memory to all of them when they start again.
MICRO_BATCH = "SLIPWAY_MICRO_BATCH"


def is_rank() -> bool:
    """Whether this process is one of several that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def devices_of(job_dir: JobDir, spec: JobSpec) -> int:
    """How many processes are to train: what the job asks for, as far as it is there."""
    wanted = spec.train.devices if spec.train else 1
    if wanted == 1:
        return 1
    assert spec.train
    if spec.train.parameters.get("tune") or spec.train.parameters.get("folds"):
        job_dir.log("A search and folds train on one device each.", "warning")
        return 1
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else wanted
    if there < wanted:
        job_dir.log(f"{wanted} devices were asked for, {there} are here: training uses these.", "warning")
    return min(wanted, there)


def launch(job_dir: JobDir, devices: int) -> int:
    """Train in `devices` processes; returns the exit code. Ends by the signal that one of them was ended by."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # All on this host; its name need not be known to any name server.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=f"slipway-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        shutdown_timeout=5,
    )
    while True:
        for card in job_dir.root.glob("failed-*.json"):
            card.unlink()
        try:
            elastic_launch(config, sys.executable)("-m", "workers.engine", str(job_dir.root))
            return 0
        except SignalException:
            return 143
        except ChildFailedError as error:
            codes = [failure.exitcode for failure in error.failures.values()]
        # A process that was killed takes the others with it: what they say of it is no cause. SIGTERM is what torchrun
        # sends to the others when one has ended for a reason of its own.
        if killed := [code for code in codes if code < 0 and code != -signal.SIGTERM]:
            _end_by(-killed[0])
        first = _first_card(job_dir.root)
        if first is None:
            if codes[0] < 0:
                _end_by(-codes[0])
            return codes[0]
        smaller = (first.repair or {}).get("parameters", {}).get("micro_batch")
        if first.code != "out_of_memory" or not smaller:
            job_dir.fail(first)
            return 1
        job_dir.log(f"Memory is short: {smaller} examples at a time from now on, from the last checkpoint.", "warning")
        os.environ[MICRO_BATCH] = str(smaller)


def die_with_parent() -> None:
    """In a process of several: end when the one that started it is gone, even by SIGKILL."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        os._exit(1)


def leave_card(job_dir: JobDir, card: ErrorCard) -> None:
    """In a process of several: say why it ends. The one that started it passes the first such card on."""
    said = {"time": time.time(), "card": card.model_dump(mode="json")}
    write_atomic(job_dir.root / f"failed-{os.environ['RANK']}.json", json.dumps(said).encode())


def _first_card(root: Path) -> ErrorCard | None:
    said = [json.loads(path.read_bytes()) for path in root.glob("failed-*.json")]
    if not said:
        return None
    return ErrorCard.model_validate(min(said, key=lambda one: float(one["time"]))["card"])


def _end_by(number: int) -> None:
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(5)  # the signal is on its way
