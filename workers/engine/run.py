"""What a template's train() may use (`Run`) and what it returns (`Trained`). No torch at import time."""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.contracts.job import JobSpec, TrainSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.manifest import Certificate
from workers.engine.checkpoints import CheckpointStore
from workers.inference.core import Predictor

if TYPE_CHECKING:
    import pyarrow
    import torch

    from workers.task_templates.base import Params


class Run:
    """One attempt at training: its data, parameters, device, and how it speaks to the outside."""

    def __init__(self, job_dir: JobDir, spec: JobSpec, params: "Params") -> None:
        if spec.train is None:
            raise ValueError("the spec is not one of a train job")
        self.job_dir = job_dir
        self.spec = spec
        self.train: TrainSpec = spec.train
        self.params = params
        self.seed = spec.train.seed
        self._started = time.monotonic()
        self.checkpoints = CheckpointStore(job_dir, self._fingerprint(), self.useful_seconds)
        self.progress = job_dir.progress
        self.metric = job_dir.metric
        self.log = job_dir.log
        self.chosen: dict[str, Any] = {}

    def _fingerprint(self) -> str:
        facts = [
            self.train.template,
            self.params.model_dump(mode="json"),
            self.train.dataset.content_hash,
            self.seed,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def useful_seconds(self) -> float:
        """Seconds of this attempt, and of earlier ones up to the checkpoint that this one resumed from."""
        return self.checkpoints.useful_seconds_before + time.monotonic() - self._started

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
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def device_label(self) -> str:
        """The device in words, for example "cpu (2 threads)"."""
        import torch

        if self.device.type == "cuda":
            return f"cuda: {torch.cuda.get_device_name()}"
        return f"cpu ({torch.get_num_threads()} threads)"

    @property
    def data_path(self) -> Path:
        """The dataset version's data.parquet (columns: see IngestResult)."""
        return self.job_dir.inputs / "data.parquet"

    def split(self, name: str, columns: list[str] | None = None) -> "pyarrow.Table":
        """The rows of one split ("train", "validation", "test"), in the order of the file."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(
            self.data_path,
            columns=columns,
            filters=[("split", "=", name)],
            memory_map=True,
        )

    def batches(self, name: str, columns: list[str], size: int = 256) -> "Iterator[pyarrow.RecordBatch]":
        """The rows of one split, `size` or fewer at a time: for columns that may not fit into memory."""
        import pyarrow.compute
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.data_path, memory_map=True) as file:
            for batch in file.iter_batches(size, columns=[*columns, "split"]):
                yield batch.filter(pyarrow.compute.equal(batch["split"], name)).select(columns)


class Trained(ABC):
    """A trained model that can judge itself, be exported, and be compared with what was exported."""

    labels: list[str]
    """The classes in the order of the scores; [] for recommendation."""
    notes: Sequence[str] = ()
    """What the reader of the metrics should know, for the model card."""

    @abstractmethod
    def evaluate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """TrainResult.metrics and TrainResult.report, measured on the PyTorch side."""

    @abstractmethod
    def export(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx and the files beside it; return manifest.preprocessing."""

    @abstractmethod
    def certify(self, predictor: Predictor) -> Certificate:
        """Send the raw inputs of the whole test split through the served path and compare with PyTorch."""

    @abstractmethod
    def reference_cases(self) -> list[Any]:
        """A few raw inputs, as a client would send them in `inputs`: reference.json keeps them with their answers."""
