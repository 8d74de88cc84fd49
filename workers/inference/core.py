"""What all predictors share: an input that cannot be used, a loaded bundle, a classifier, a session of onnxruntime."""

import argparse
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

MANIFEST_VERSION = 1
MODEL = "model.onnx"
CPU = ("CPUExecutionProvider",)


class InputError(ValueError):
    """An input is not what the model takes. `index` is its place in `inputs`; None where the whole body is wrong."""

    def __init__(self, index: int | None, message: str) -> None:
        self.index = index
        self.message = message
        super().__init__(message if index is None else f"input {index}: {message}")


class Bundle(NamedTuple):
    """An unzipped bundle and how to run it: `threads` per run, None for all cores; `model` is the file of a variant."""

    folder: Path
    manifest: dict[str, Any]
    model: str = MODEL
    providers: Sequence[str] = CPU
    threads: int | None = None

    def session(self) -> Any:
        """Its model, loaded."""
        return open_session(self.folder / self.model, self.providers, self.threads)


class Predictor(ABC):
    """A loaded bundle.

    A raw input (what a client sends: text, an encoded image, a user) becomes an item by `prepare`; `predict` answers
    many items with one run of the model. Items of different requests may be predicted together. Thread-safe.
    """

    inputs_help: ClassVar[str]
    """What the command line's arguments without a name are."""

    def __init__(self, bundle: Bundle) -> None:
        self.manifest = bundle.manifest
        self.labels: list[str] = bundle.manifest["labels"]

    @abstractmethod
    def prepare(self, raw: Any, index: int = 0) -> Any:
        """One item from one raw input. Raises InputError."""

    @abstractmethod
    def predict(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """One prediction per item, in order."""

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """What the command line takes beside `--json` and `--bundle`."""
        parser.add_argument("inputs", nargs="*", help=cls.inputs_help)

    @abstractmethod
    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """The raw inputs that a command line names."""

    def parse(self, body: Any) -> list[Any]:
        """Items from the body of a request: {"inputs": [...]} or the list itself. Raises InputError."""
        if isinstance(body, dict):
            unknown = sorted(set(body) - {"inputs"})
            if unknown:
                raise InputError(None, f'Unknown field "{unknown[0]}": send {{"inputs": [...]}}.')
            body = body.get("inputs")
        if not isinstance(body, list):
            raise InputError(None, 'Send {"inputs": [...]} with a list of inputs.')
        if not body:
            raise InputError(None, "The list of inputs is empty.")
        return [self.prepare(raw, index) for index, raw in enumerate(body)]


class LabelPredictor(Predictor):
    """A classifier: model.onnx takes one array named `input_name` and gives `scores`, float32 [batch, labels].

    With `thresholds` in the manifest an input has all labels whose probability reaches theirs, or none.
    """

    input_name: ClassVar[str]

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.thresholds: list[float] = bundle.manifest.get("thresholds") or []
        self._session = bundle.session()

    @abstractmethod
    def batch(self, items: Sequence[Any]) -> np.ndarray:
        """The model's input for some items, first axis the batch."""

    def scores(self, items: Sequence[Any]) -> np.ndarray:
        """Probabilities, float32 [items, labels]; without thresholds each row sums to 1."""
        scores: np.ndarray = self._session.run(["scores"], {self.input_name: self.batch(items)})[0]
        if len(scores) != len(items):
            raise RuntimeError(f"the model gave {len(scores)} answers to {len(items)} inputs")
        return scores

    def predict(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """[{"label", "score", "scores": {label: probability}}], probabilities with six decimals; with thresholds also
        "labels", those that apply, the likeliest first. "label" is the likeliest, whether it applies or not."""
        if not items:
            return []
        scores = self.scores(items)
        best = scores.argmax(axis=1).tolist()
        rows = shown(scores).tolist()
        labels = self.labels
        answers = [
            {
                "label": labels[top],
                "score": row[top],
                "scores": dict(zip(labels, row, strict=True)),
            }
            for top, row in zip(best, rows, strict=True)
        ]
        if not self.thresholds:
            return answers
        # What is compared is what is shown: anybody can check it.
        return [{"labels": self._applying(row), **answer} for row, answer in zip(rows, answers, strict=True)]

    def _applying(self, row: list[float]) -> list[str]:
        places = [place for place, score in enumerate(row) if score >= self.thresholds[place]]
        return [self.labels[place] for place in sorted(places, key=lambda place: -row[place])]


def shown(scores: np.ndarray) -> np.ndarray:
    """Scores as they are answered and compared: float64 with six decimals."""
    return scores.astype(np.float64).round(6)


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a bundle's folder. Raises OSError, ValueError or KeyError where it holds none."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["manifest_version"] != MANIFEST_VERSION:
        raise ValueError(f"this bundle is of a newer kind ({manifest['manifest_version']}) than this program")
    return manifest


def open_session(model: Path, providers: Sequence[str], threads: int | None) -> Any:
    """An onnxruntime session on `threads` cores (None: all), made from bytes: no file beside the model is ever read."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Shapes vary from batch to batch: remembered memory patterns would only pile up.
    options.enable_mem_pattern = False
    # Idle threads sleep instead of burning the cores that other models share.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model.read_bytes(), options, providers=providers)
    # It would keep the file in memory beside its weights, to begin anew with other providers.
    session._model_bytes = None
    return session
