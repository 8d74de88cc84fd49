"""What all classifiers share: calibration, the evaluation report, export, parity of the served path."""

import copy
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow.parquet
import torch
from torch import nn

from workers.contracts.manifest import Certificate, EdgeCases, Variant
from workers.contracts.report import Baseline, ClassificationReport, ClassificationSplit, Metrics, Temperature
from workers.engine.answering import TOLERANCE, Answering, Judged, OneLabel, SeveralLabels
from workers.engine.averaging import MeanOfNetworks
from workers.engine.calibration import Tempered, fit_temperature, tempered
from workers.engine.edge_cases import EdgeCase
from workers.engine.examples import Examples
from workers.engine.export import export_onnx
from workers.engine.links import probabilities
from workers.engine.loop import predict
from workers.engine.run import HeldOut, Run, Trained, UnlikeError
from workers.engine.several_labels import DECIMALS, fit_thresholds
from workers.engine.slices import Parts, image_sizes, scripts, sliced, text_lengths
from workers.engine.variants import certify_int8, quantize_dynamic
from workers.inference.core import MODEL, InputError, Predictor

_CERTIFY_BATCH = 64


class TrainedClassifier(Trained):
    """A trained classifier: the model in eval mode and its evaluation rows. Subclasses know the raw inputs."""

    # The model's input, as the predictor calls it.
    input_name: ClassVar[str]

    def __init__(
        self,
        run: Run,
        model: nn.Module,
        labels: list[str],
        evaluation: dict[str, Examples],
        before: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """`before`: of splits that the model has learned from in the end, the probabilities, float32 [rows, labels],
        by which it answered them when it had not: they are judged by these."""
        self.run = run
        self.model = model
        self.labels = labels
        self.evaluation = {name: examples for name, examples in evaluation.items() if len(examples)}
        self._untempered = {
            name: before[name] if before and name in before else predict(model, examples, run.device)
            for name, examples in self.evaluation.items()
        }
        self.temperature = self._fit_temperature()
        value = self.temperature.value
        # Folded into what is exported: the scores that are judged here are those that will be served.
        self.model = model if value == 1.0 else Tempered(model, value)
        self._scores = {name: tempered(scores, value, run.multi_label) for name, scores in self._untempered.items()}
        self._answering = self._fit_answering()

    def _fit_answering(self) -> Answering:
        if not self.run.multi_label:
            return OneLabel(self.run, self.labels)
        if "validation" in self._scores:
            thresholds = fit_thresholds(self.evaluation["validation"].labels, self._scores["validation"])
        else:
            self.run.log("There are no validation rows: each label is answered from a probability of 0.5 on.")
            thresholds = np.full(len(self.labels), 0.5)
        return SeveralLabels(self.run, self.labels, thresholds)

    @property
    def thresholds(self) -> np.ndarray | None:
        """See Trained."""
        return self._answering.thresholds

    def _fit_temperature(self) -> Temperature:
        if "validation" not in self._untempered:
            return Temperature(reason="There are no validation rows.")
        fitted = fit_temperature(self.evaluation["validation"].labels, self._untempered["validation"])
        for scores in () if self.run.multi_label else self._untempered.values():
            # Scores that differ in their last digit may become equal, and the first of equals is the answer.
            if np.any(tempered(scores, fitted.value).argmax(axis=1) != scores.argmax(axis=1)):
                return Temperature(rows=fitted.rows, reason="It would have made two scores equal.")
        return fitted

    def validation_score(self, metric: str) -> float | None:
        """See Trained. Accuracy needs no report."""
        if metric != "accuracy" or "validation" not in self._scores or self.run.multi_label:
            return super().validation_score(metric)
        return float((self._scores["validation"].argmax(axis=1) == self.evaluation["validation"].labels).mean())

    def averaged(self, run: Run, others: Sequence[Trained]) -> Trained:
        """See Trained. The rows that judged the single models are not used: other models have learned from them."""
        if any(not isinstance(other, TrainedClassifier) or other._reading() != self._reading() for other in others):
            raise UnlikeError
        networks = [self.model, *(other.model for other in others if isinstance(other, TrainedClassifier))]
        mean = copy.copy(self)
        mean.run = run
        mean.model = MeanOfNetworks(networks, run.multi_label).to(run.device).eval()
        mean.evaluation = {"test": self.evaluation["test"]}
        mean.temperature = Temperature(reason="Each fold's model has its own.")
        mean._answering = OneLabel(run, self.labels)
        if several := [model.thresholds for model in (self, *others) if model.thresholds is not None]:
            # Each fold's were chosen on rows that its own model had not seen.
            mean._answering = SeveralLabels(run, self.labels, np.mean(several, axis=0).round(DECIMALS))
        mean._untempered = mean._scores = {"test": predict(mean.model, mean.evaluation["test"], run.device)}
        return mean

    def held_out(self, split: str) -> HeldOut | None:
        """See Trained."""
        if split not in self._scores or split == "train":
            return None
        return HeldOut(self.run.places(split), self.labels, self._scores[split])

    def _reading(self) -> tuple[Any, ...]:
        """How inputs become the network's: the settings and files that the served path reads them by."""
        with tempfile.TemporaryDirectory() as folder:
            settings = self.export_side_files(Path(folder))
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        return settings, files, self.labels

    @abstractmethod
    def raw_inputs(self, split: str) -> Iterator[Any]:
        """The raw inputs of a split, as a client would send them, in the order of its rows."""

    @abstractmethod
    def shown(self, split: str, rows: np.ndarray) -> list[str]:
        """How a person recognises rows: their texts, or the names of their files."""

    @abstractmethod
    def example_input(self) -> torch.Tensor:
        """An input of the model with a batch of two, to trace it with."""

    def dynamic_axes(self) -> dict[int, str]:
        """The axes of the input that vary, by name."""
        return {0: "batch"}

    def evaluate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metrics and report of the splits, beside a baseline that always answers the same."""
        answering = self._answering
        splits: dict[str, ClassificationSplit] = {}
        always: dict[str, Metrics] = {}
        for split, scores in self._scores.items():
            judged = answering.judge(split, scores, self._untempered[split])
            splits[split], always[split] = self._told(split, judged), judged.baseline
        report = ClassificationReport(
            labels=self.labels,
            multi_label=self.run.multi_label,
            splits=splits,
            baseline=Baseline(name=answering.baseline_name, label=", ".join(answering.usual), **always),
            temperature=self.temperature,
            notes=list(self.notes),
        )
        return {name: part.metrics for name, part in splits.items()}, report.model_dump(mode="json")

    def _told(self, split: str, judged: Judged) -> ClassificationSplit:
        """A split's part of the report, with the mistakes and slices that only the raw inputs can tell."""
        report, wrong = judged.report, judged.wrong
        numbers = self.run.split(split, ["row"])["row"].take(wrong).to_pylist()
        told = zip(wrong.tolist(), numbers, self.shown(split, wrong), strict=True)
        report.mistakes = [judged.tell(place, number, shown) for place, number, shown in told]
        for group, parts in self.slices(split).items():
            report.slices += sliced(group, parts, judged.right)
        return report

    def slices(self, split: str) -> dict[str, Parts]:
        """The parts of a split that are judged apart, by what its columns say."""
        present = set(pyarrow.parquet.read_schema(self.run.data_path).names)
        found: dict[str, Parts] = {}
        if "text" in present:
            columns = [name for name in ("text", "text_pair") if name in present]
            texts = [" ".join(row.values()) for row in self.run.split(split, columns).to_pylist()]
            found["Text length (characters)"] = text_lengths(texts)
            found["Script"] = scripts(texts)
        if {"width", "height"} <= present:
            table = self.run.split(split, ["width", "height"])
            found["Shorter side (pixels)"] = image_sizes(table["width"].to_numpy(), table["height"].to_numpy())
        return found

    def export(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx and what `export_side_files` adds."""
        example, axes = self.example_input(), self.dynamic_axes()
        export_onnx(self.model, example, self.input_name, axes, folder / MODEL, multi_label=self.run.multi_label)
        return self.export_side_files(folder)

    @abstractmethod
    def export_side_files(self, folder: Path) -> dict[str, Any]:
        """Write the files beside model.onnx; return manifest.preprocessing."""

    def certified_split(self) -> str:
        """The split that the certificate is about."""
        for split in ("test", "validation"):
            if split in self._scores:
                return split
        return "train"

    def encode(self, raws: list[Any]) -> torch.Tensor:
        """The model's input for raw inputs, by what training reads its rows with."""
        raise TypeError(f"{type(self).__name__} has edge cases and no way to read them")

    def edge_cases(self) -> list[EdgeCase]:
        """Odd raw inputs that the certificate covers beside the rows. With some, `encode` is needed."""
        return []

    def _certify_edges(self, predictor: Predictor) -> EdgeCases:
        """Each edge case alone through both paths: the same answer, or none where none is due."""
        cases: dict[str, Literal["same", "refused", "differs"]] = {}
        largest = 0.0
        for case in self.edge_cases():
            try:
                answer = predictor.predict([predictor.prepare(case.raw)])[0]
            except InputError:
                cases[case.name] = "refused" if case.refused else "differs"
                continue
            if case.refused:
                cases[case.name] = "differs"
                continue
            with torch.inference_mode():
                inputs = self.encode([case.raw]).to(self.run.device)
                scores = self.model.to(self.run.device).eval()(inputs).float()
                ours = probabilities(scores, self.run.multi_label)[0].cpu().numpy()
            served = np.array([answer["scores"][label] for label in self.labels])
            difference = float(np.abs(served - ours).max())
            largest = max(largest, difference)
            same = self._answering.is_same(answer, served, ours)
            cases[case.name] = "same" if same and difference <= TOLERANCE else "differs"
        flips = sum(outcome == "differs" for outcome in cases.values())
        return EdgeCases(examples=len(cases), label_flips=flips, max_abs_difference=largest, cases=cases)

    def quantize(self, folder: Path) -> str:
        """Write the int8 variant beside model.onnx; how it was made. Trained networks of convolutions override it."""
        return quantize_dynamic(folder)

    def int8_variant(self, folder: Path) -> Variant:
        """Make and measure the int8 variant of an exported bundle."""
        split = self.certified_split()
        return certify_int8(
            folder,
            self.quantize(folder),
            lambda: self.raw_inputs(split),
            self._scores[split],
            self._answering.truth(split),
            split,
            self._answering.decide,
        )

    def certify(self, predictor: Predictor) -> Certificate:
        """Raw inputs through the served path, in batches, against PyTorch's probabilities; flips counted strictly."""
        split = self.certified_split()
        expected = self._scores[split]
        flips, difference, start = 0, 0.0, 0
        for batch in _batched(self.raw_inputs(split), _CERTIFY_BATCH):
            answers = predictor.predict([predictor.prepare(raw, index) for index, raw in enumerate(batch)])
            served = np.array([[answer["scores"][label] for label in self.labels] for answer in answers])
            ours = expected[start : start + len(batch)]
            flips += self._answering.count_flips(answers, ours)
            difference = max(difference, float(np.abs(served - ours).max()))
            start += len(batch)
        if start != len(expected):
            raise RuntimeError(f"{start} inputs were certified, {len(expected)} were evaluated")
        edges = self._certify_edges(predictor)
        return Certificate(
            examples=start,
            label_flips=flips,
            max_abs_difference=difference,
            tolerance=TOLERANCE,
            passed=flips == 0 and difference <= TOLERANCE and edges.label_flips == 0,
            split=split,
            edge_cases=edges,
        )


def _batched(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
