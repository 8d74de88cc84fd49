"""Two clouds in the plane, to train small networks on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.engine.jobs import make_spec
from workers.contracts.events import EVENT, Event
from workers.contracts.jobdir import JobDir
from workers.engine.examples import Examples
from workers.engine.loop import fit
from workers.engine.run import Run
from workers.engine.settings import Settings
from workers.task_templates import TEMPLATES

# These operations are too small to share.
torch.set_num_threads(1)

SETTINGS = Settings(epochs=4, batch_size=8, learning_rate=0.02, patience=10)


class Points(Examples):
    """Two clouds in the plane; noise is added in training, as augmentation would."""

    def __init__(self, seed: int, count: int = 60) -> None:
        random = np.random.default_rng(seed)
        self.labels = random.integers(0, 2, count)
        centres = np.where(self.labels[:, None] == 1, 1.0, -1.0)
        self.points = torch.from_numpy((centres + random.normal(0, 0.4, (count, 2))).astype(np.float32))
        self.augmented: list[int] = []

    def batch(self, rows: np.ndarray) -> Tensor:
        return self.points[torch.from_numpy(rows)]

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        self.augmented.append(len(inputs))
        return inputs + 0.05 * torch.randn(inputs.shape, generator=generator)


def start_run(folder: Path, seed: int = 1, **spec: Any) -> Run:
    job = make_spec(seed=seed, **spec)
    return Run(JobDir.create(folder, job), job, TEMPLATES["text-classification"].resolve("fast", {}))


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))


def train(folder: Path, settings: Settings = SETTINGS, seed: int = 1) -> nn.Module:
    trained = network()
    fit(start_run(folder, seed), trained, Points(1), Points(2), settings)
    return trained


def events(folder: Path) -> list[Event]:
    return [EVENT.validate_json(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]


def logs(folder: Path) -> str:
    return "\n".join(event.message for event in events(folder) if event.type == "log")


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
