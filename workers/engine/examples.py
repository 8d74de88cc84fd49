"""What the training loop reads: rows of one split, and the batches that are made of them."""

import math
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from workers.engine.balance import class_weights, epoch_rows
from workers.engine.settings import Settings

# Batches that are made while one is computed.
_AHEAD = 2
# Batches that are made at once where there is no thread for it. After an update the processor's caches hold nothing of
# what makes one, and a single one takes ten times as long (of short texts: 230 µs instead of 20).
_AT_ONCE = 8


class Examples(ABC):
    """Rows of one split. `labels`: int64 [rows], -1 where the label is none that the model knows; or, where rows have
    several labels, uint8 [rows, labels]."""

    labels: np.ndarray
    mixes: bool = False
    """Whether `mix` is to be called."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        """Whether a row has several labels, or none."""
        return self.labels.ndim == 2

    @abstractmethod
    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """The model's input for some rows, first axis the batch, on the CPU."""

    def at_once(self, rows: np.ndarray) -> int:
        """How many of these rows may be computed at once: all, but for examples that know how much memory they take."""
        return len(rows)

    def augment(self, inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A training variant of a batch. All chance comes from `generator`: this runs in a thread of its own."""
        return inputs

    def mix(
        self, inputs: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix augmented examples with each other (Mixup, CutMix). `targets`: float32 [batch, labels]."""
        return inputs, targets

    def batches(self, rows: np.ndarray, size: int, order: np.random.Generator) -> list[np.ndarray]:
        """Shuffled rows in batches that differ by one row at most; ceil(len(rows) / size) of them."""
        return list(np.array_split(rows, math.ceil(len(rows) / size)))


def known_rows(labels: np.ndarray) -> np.ndarray:
    """Places of the rows whose label is one that the model knows; sets of labels are what is known of them."""
    return np.flatnonzero(labels >= 0) if labels.ndim == 1 else np.arange(len(labels))


class Part(NamedTuple):
    """A part of a batch that is computed at once. `targets`: int64 [batch], or float32 [batch, labels] where mixed or
    of several labels."""

    inputs: torch.Tensor
    targets: torch.Tensor
    seed: int


class Batch(NamedTuple):
    """This process's share of a batch, and of the whole batch the number of rows and their summed class weights."""

    parts: list[Part]
    rows: int
    weight: float


class Feed:
    """The training batches; `ahead`: made in a thread of its own while others are computed.

    Each is a pure function of the seed, the step, the size of the parts and the share (this process's number, of how
    many): what was made ahead in vain changes nothing.
    """

    def __init__(
        self,
        examples: Examples,
        settings: Settings,
        seed: int,
        *,
        share: tuple[int, int] = (0, 1),
        ahead: bool = False,
        pinned: bool = False,
    ) -> None:
        self._examples = examples
        self._settings = settings
        self._seed = seed
        self._share = share
        self._pinned = pinned
        self.multi_label = examples.multi_label
        # float32 [labels]
        self.weights = class_weights(examples.labels, settings)
        self._weights = self.weights.double().numpy()
        self.steps_per_epoch = math.ceil(len(examples) / settings.batch_size)
        self.steps = settings.epochs * self.steps_per_epoch
        # Rows of the largest batch.
        self.largest = math.ceil(len(examples) / self.steps_per_epoch)
        self._epoch = -1
        self._batches: list[np.ndarray] = []
        # One worker: batches are made one after another, and `_rows` needs no lock.
        self._worker = ThreadPoolExecutor(1, "feed") if ahead else None
        self._ahead: dict[tuple[int, int], Future[Batch]] = {}
        self._made: dict[tuple[int, int], Batch] = {}

    def close(self) -> None:
        """Make no more."""
        if self._worker:
            self._worker.shutdown(cancel_futures=True)

    def batch(self, step: int, size: int) -> Batch:
        """The batch of a step in parts of `size` rows or fewer, of like size: a last one of a single example would
        upset batch normalisation. Raises what making it raises."""
        if self._worker is None:
            if (step, size) not in self._made:
                several = range(step, min(step + _AT_ONCE, self.steps))
                self._made = {(later, size): self._make(later, size) for later in several}
            return self._made.pop((step, size))
        wanted = [(later, size) for later in range(step, min(step + 1 + _AHEAD, self.steps))]
        for made in [made for made in self._ahead if made not in wanted]:
            self._ahead.pop(made).cancel()
        for key in wanted:
            if key not in self._ahead:
                self._ahead[key] = self._worker.submit(self._make, *key)
        return self._ahead.pop(wanted[0]).result()

    def _make(self, step: int, size: int) -> Batch:
        rows = self._rows(step)
        rank, ranks = self._share
        mine = np.arange(len(rows)) if ranks == 1 else np.array_split(np.arange(len(rows)), ranks)[rank]
        size = min(size, self._examples.at_once(rows))
        parts = np.array_split(mine, math.ceil(len(mine) / size)) if len(mine) > size else [mine]
        # Of several labels the weights are those of labels, not of rows.
        several = self._examples.multi_label
        weight = float(len(rows) if several else self._weights[self._examples.labels[rows]].sum())
        return Batch(
            [self._part(rows[part], part_seed(self._seed, step, int(part[0]))) for part in parts], len(rows), weight
        )

    def _rows(self, step: int) -> np.ndarray:
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng([self._seed, epoch])
            rows = epoch_rows(self._examples.labels, self._settings, order)
            self._batches = self._examples.batches(rows, self._settings.batch_size, order)
            self._epoch = epoch
        return self._batches[within]

    def _part(self, rows: np.ndarray, seed: int) -> Part:
        generator = torch.Generator().manual_seed(seed)
        inputs = self._examples.augment(self._examples.batch(rows), generator)
        targets = torch.from_numpy(self._examples.labels[rows])
        if self._examples.multi_label:
            targets = targets.float()
        elif self._examples.mixes:
            targets = functional.one_hot(targets, len(self.weights)).float()
        if self._examples.mixes:
            inputs, targets = self._examples.mix(inputs, targets, generator)
        if self._pinned:
            inputs, targets = inputs.pin_memory(), targets.pin_memory()
        return Part(inputs, targets, seed)


def part_seed(seed: int, step: int, start: int) -> int:
    """The seed of everything random in the part of a step's batch that begins at row `start`."""
    return (seed * 1_000_003 + step * 7_919 + start * 104_729 + 17) % (2**63 - 1)
