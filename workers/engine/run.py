"""What a template's train() may use (`Run`) and what it returns (`Trained`). No torch at import time."""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from workers.contracts.events import Pace
from workers.contracts.job import JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import Certificate, Variant
from workers.engine.checkpoints import CheckpointStore, Clock
from workers.engine.world import World
from workers.inference.core import Predictor

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    import torch

    from workers.task_templates.base import Params


class Run:
    """One attempt at training: its data, parameters, device, and how it speaks to the outside."""

    def __init__(
        self,
        job_dir: JobDir,
        spec: JobSpec,
        params: "Params",
        *,
        name: str = "",
        clock: Clock | None = None,
        beside: Callable[[], list[str]] = list,
    ) -> None:
        if spec.train is None:
            raise ValueError("the spec is not one of a train job")
        self.job_dir = job_dir
        self.spec = spec
        self.train: TrainSpec = spec.train
        self.params = params
        self.seed = spec.train.seed
        self.name = name
        self.clock = clock or Clock()
        self.checkpoints = CheckpointStore(job_dir, self.fingerprint(), self.clock, name=name, beside=beside)
        self.chosen: dict[str, Any] = {}
        self.notes: list[str] = []
        self.world = World()
        self._began = time.monotonic()

    def fingerprint(self) -> str:
        """Names what is trained. Not for how long a search goes on: a longer one may build on a shorter one."""
        facts = [
            self.train.template,
            self.params.model_dump(mode="json", exclude={"tune"}),
            self.train.dataset.content_hash,
            self.seed,
            self.name,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def useful_seconds(self) -> float:
        """Seconds of this attempt, and of earlier ones up to the checkpoint that this one resumed from."""
        return self.clock()

    def seconds_left(self) -> float:
        """Of the job's time limit, which counts useful seconds of all its attempts."""
        return self.spec.time_limit_s - self.clock()

    def seconds_here(self) -> float:
        """Since this run began, in this attempt."""
        return time.monotonic() - self._began

    def note(self, message: str) -> None:
        """Say something that readers of the model's metrics should know, too."""
        self.log(message)
        self.notes.append(message)

    def progress(self, fraction: float, phase: str, **pace: Unpack[Pace]) -> None:
        """Say how far the job is."""
        if self.world.rank == 0:
            self.job_dir.progress(fraction, phase, **pace)

    def metric(self, step: int, values: dict[str, float]) -> None:
        """Say what was measured at a step."""
        if self.world.rank == 0:
            self.job_dir.metric(step, values)

    def log(self, message: str, level: str = "info") -> None:
        """Say something to the user."""
        if self.world.rank == 0:
            self.job_dir.log(message, level)

    def judged(self, epoch: int, epochs: int, score: float) -> bool:
        """Tell how good the model is after an epoch (counted from 0) on the validation rows, by the main metric.

        False where training is to end here, with the best weights so far. May raise what ends a trial.
        """
        return True

    def choose(self, **values: Any) -> None:
        """Note what was chosen for parameters that were left to the data: the model's provenance tells it."""
        self.chosen.update(values)

    @cached_property
    def device(self) -> "torch.device":
        """CUDA where there is one (the runner pins which), else the CPU."""
        import torch

        # Training computes in bfloat16 where that pays; what is judged and certified is full float32, never TF32.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        if not torch.cuda.is_available():
            return torch.device("cpu")
        if self.world.size == 1:
            return torch.device("cuda")
        torch.cuda.set_device(self.world.rank)
        return torch.device("cuda", self.world.rank)

    @cached_property
    def device_label(self) -> str:
        """The device in words, for example "cpu (2 threads)"."""
        import torch

        several = f"{self.world.size} × " if self.world.size > 1 else ""
        if self.device.type == "cuda":
            return f"cuda: {several}{torch.cuda.get_device_name()}"
        return f"cpu ({several}{torch.get_num_threads()} threads)"

    @property
    def data_path(self) -> Path:
        """The dataset version's data.parquet (columns: see IngestResult)."""
        return self.job_dir.inputs / "data.parquet"

    @cached_property
    def multi_label(self) -> bool:
        """Whether rows have several labels each, or none: the column `labels` beside `label`."""
        import pyarrow.parquet

        return "labels" in pyarrow.parquet.read_schema(self.data_path).names

    @cached_property
    def pairs(self) -> bool:
        """Whether each row has two texts: the column `text_pair` beside `text`."""
        import pyarrow.parquet

        return "text_pair" in pyarrow.parquet.read_schema(self.data_path).names

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        import pyarrow.parquet

        return int(pyarrow.parquet.read_metadata(self.data_path).num_rows)

    @property
    def preparation(self) -> "Run":
        """The run whose training rows preprocessing (a vocabulary, a size, the labels) is to be learned from.

        Itself, but for folds whose models are to answer together: these have to understand inputs alike.
        """
        return self

    @property
    def cache(self) -> Path:
        """A folder for what can be made again, shared by all trainings of the job: decoded images."""
        folder = self.job_dir.root / "cache"
        if self.world.rank:  # processes that train together do not write into each other's files
            folder = folder.with_name(f"{folder.name}-{self.world.rank}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def mask(self, name: str) -> "np.ndarray | None":
        """bool [rows of the file]: which rows make up a split; None where the file's own column says it."""
        return None

    def split(self, name: str, columns: list[str] | None = None) -> "pyarrow.Table":
        """The rows of one split ("train", "validation", "test"), in the order of the file."""
        import pyarrow.parquet

        mask = self.mask(name)
        table = pyarrow.parquet.read_table(
            self.data_path,
            columns=columns,
            filters=[("split", "=", name)] if mask is None else None,
            memory_map=True,
        )
        return table if mask is None else table.filter(mask)

    def places(self, name: str) -> "np.ndarray":
        """int64: where in the file the rows of one split are."""
        import numpy
        import pyarrow.compute
        import pyarrow.parquet

        mask = self.mask(name)
        if mask is None:
            splits = pyarrow.parquet.read_table(self.data_path, columns=["split"], memory_map=True)["split"]
            mask = pyarrow.compute.equal(splits, name).to_numpy()
        return numpy.flatnonzero(mask)

    def batches(self, name: str | None, columns: list[str], size: int = 256) -> "Iterator[pyarrow.RecordBatch]":
        """The rows of one split (None: all), `size` or fewer at a time: for columns that may not fit into memory."""
        import pyarrow.compute
        import pyarrow.parquet

        mask, start = self.mask(name) if name else None, 0
        # Read in small pieces, not mapped: pages of a mapped file count as memory of this process.
        with pyarrow.parquet.ParquetFile(self.data_path, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(size, columns=[*columns, "split"]):
                if name is None:
                    yield batch.select(columns)
                    continue
                here = pyarrow.compute.equal(batch["split"], name)
                if mask is not None:
                    here = pyarrow.array(mask[start : start + len(batch)])
                    start += len(batch)
                yield batch.filter(here).select(columns)


class CrossFitted(NamedTuple):
    """What models answer of all rows, none by a model that learned from it: float32 [rows, labels]; rows sum to 1 where
    each has one label. `method` says in words what models these are."""

    probabilities: "np.ndarray"
    method: str


class HeldOut(NamedTuple):
    """What one model answers of rows that it did not learn from: their numbers, int64 [rows], its labels, and
    probabilities, float32 [rows, labels]."""

    rows: "np.ndarray"
    labels: list[str]
    probabilities: "np.ndarray"


class UnlikeError(Exception):
    """Models that do not read inputs alike cannot answer as one."""


class Trained(ABC):
    """A trained model that can judge itself, be exported, and be compared with what was exported."""

    labels: list[str]
    """The classes in the order of the scores; [] for recommendation."""
    notes: Sequence[str] = ()
    """What the reader of the metrics should know, for the model card."""

    @property
    def thresholds(self) -> "np.ndarray | None":
        """float64 [labels]: from which probability on each is answered, where there may be several; else None."""
        return None

    @abstractmethod
    def evaluate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """TrainResult.metrics and TrainResult.report, measured on the PyTorch side."""

    @abstractmethod
    def export(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx and the files beside it; return manifest.preprocessing."""

    @abstractmethod
    def certify(self, predictor: Predictor) -> Certificate:
        """Send the raw inputs of the whole test split through the served path and compare with PyTorch."""

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of one input, where the data says more of it than the template does; else {}."""
        return {}

    def int8_variant(self, folder: Path) -> Variant | None:
        """Make and measure an int8 variant beside the model in a bundle's folder; None where there is none to make."""
        return None

    @abstractmethod
    def reference_cases(self) -> list[Any]:
        """A few raw inputs, as a client would send them in `inputs`: reference.json keeps them with their answers."""

    def validation_score(self, metric: str) -> float | None:
        """One metric of the validation rows; None where there are none. Cheaper than all of `evaluate` where it can."""
        score = self.evaluate()[0].get("validation", {}).get(metric)
        return None if score is None else float(score)

    def cross_fit(self, whole: Run, labels: list[str], given: "np.ndarray", dealt: "np.ndarray") -> CrossFitted | None:
        """The probabilities of the labels for each row of `whole`'s training split, by a model that learned from the
        rows of other folds alone; None where there is no cheap way to it.

        `given`: int64 [rows], places in `labels`, or of several labels each uint8 [rows, labels]; `dealt`: int64
        [rows], the folds. Nothing that was fitted to the labels of a row may take part in its answer.
        """
        return None

    def held_out(self, split: str) -> HeldOut | None:
        """The model's answers of a split that it did not learn from; None where it has no such rows or answers."""
        return None

    def averaged(self, run: Run, others: "Sequence[Trained]") -> "Trained":
        """One model that answers with the mean of this one and others like it, judged on the test rows of `run`.

        Raises UnlikeError where they do not take the same inputs.
        """
        raise TypeError(f"{type(self).__name__} cannot be averaged")
