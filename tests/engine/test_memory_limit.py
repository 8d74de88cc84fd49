"""Training under a real limit of memory, set by the operating system (RLIMIT_AS)."""

import multiprocessing
import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from tests.engine.points import Points, logs, start_run
from workers.engine.loop import fit
from workers.engine.settings import Settings

_ROWS, _WIDTH = 256, 250_000
_MB = 1 << 20
# All rows at once need three times 256 MB for the widest layer, half of them half of that; all else takes about 130.
_ROOM = 640 * _MB


def train_in(folder: Path, room: int) -> None:
    """One epoch of two steps, with so many more bytes of address space than the process has by then; 0: any number."""
    torch.set_num_threads(1)
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(2, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 2))
    run = start_run(folder)
    # Libraries take what they need at their first use.
    network(torch.zeros(1, 2)).sum().backward()
    safetensors.torch.save({"one": torch.zeros(1)})
    if room:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room,) * 2)
    settings = Settings(epochs=1, batch_size=_ROWS, learning_rate=0.001, optimizer="sgd")
    fit(run, network, Points(1, 2 * _ROWS), Points(2, 0), settings)
    safetensors.torch.save_file(network.state_dict(), folder / "trained.safetensors")


def trained_in(folder: Path, room: int) -> dict[str, torch.Tensor]:
    """The weights, from a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=train_in, args=(folder, room))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    return safetensors.torch.load_file(folder / "trained.safetensors")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_a_batch_that_does_not_fit_is_computed_in_halves_with_the_same_result(tmp_path: Path) -> None:
    short, ample = (trained_in(tmp_path / name, room) for name, room in (("short", _ROOM), ("ample", 0)))
    assert "Memory is short: 128 examples at a time" in logs(tmp_path / "short")
    assert "64 examples" not in logs(tmp_path / "short") and "Memory" not in logs(tmp_path / "ample")
    assert all(torch.allclose(short[name], ample[name], atol=1e-6) for name in ample)
