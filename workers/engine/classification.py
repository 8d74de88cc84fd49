"""What all classifiers share: calibration, the evaluation report, export, parity of the served path."""

import copy
import tempfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow.parquet
import torch
from torch import nn

from workers.contracts.errors import JobError
from workers.contracts.manifest import Certificate, EdgeCases, Variant
from workers.contracts.report import Baseline, ClassificationReport, ClassificationSplit, Metrics, Temperature
from workers.engine.averaging import MeanOfNetworks
from workers.engine.calibration import Tempered, fit_temperature, tempered
from workers.engine.edge_cases import EdgeCase
from workers.engine.evaluation import Rows, evaluate_rows, majority_metrics, mistake, worst_mistakes
from workers.engine.examples import Examples
from workers.engine.export import export_onnx
from workers.engine.links import probabilities
from workers.engine.loop import predict
from workers.engine.metrics import calibration_error
from workers.engine.run import HeldOut, Run, Trained, UnlikeError
from workers.engine.several_labels import (
    DECIMALS,
    SetRows,
    baseline_metrics,
    decided,
    evaluate_sets,
    fit_thresholds,
    indicator,
    worst_sets,
    wrong_set,
)
from workers.engine.slices import Parts, image_sizes, scripts, sliced, text_lengths
from workers.engine.variants import certify_int8, quantize_dynamic
from workers.inference.core import MODEL, InputError, Predictor

# Two float32 implementations of the same network differ by about 1e-6 in a probability. 1e-4 leaves room for other
# orders of summation on other machines, and is still far below what could change a decision unseen.
TOLERANCE = 1e-4
_CERTIFY_BATCH = 64


class TrainedClassifier(Trained):
    """A trained classifier: the model in eval mode and its evaluation rows. Subclasses know the raw inputs."""

    # The model's input, as the predictor calls it.
    input_name: ClassVar[str]

    def __init__(self, run: Run, model: nn.Module, labels: list[str], evaluation: dict[str, Examples]) -> None:
        self.run = run
        self.model = model
        self.labels = labels
        self.evaluation = {name: examples for name, examples in evaluation.items() if len(examples)}
        self._untempered = {name: predict(model, examples, run.device) for name, examples in self.evaluation.items()}
        self.temperature = self._fit_temperature()
        value = self.temperature.value
        # Folded into what is exported: the scores that are judged here are those that will be served.
        self.model = model if value == 1.0 else Tempered(model, value)
        self._scores = {name: tempered(scores, value, run.multi_label) for name, scores in self._untempered.items()}
        # From which probability on each of several labels is answered; None where a row has one label.
        self.thresholds = self._fit_thresholds() if run.multi_label else None

    def _fit_thresholds(self) -> np.ndarray:
        if "validation" not in self._scores:
            self.run.log("There are no validation rows: each label is answered from a probability of 0.5 on.")
            return np.full(len(self.labels), 0.5)
        return fit_thresholds(self.evaluation["validation"].labels, self._scores["validation"])

    def answers_to(self, scores: np.ndarray) -> np.ndarray:
        """What probabilities, float [rows, labels], answer: bool [rows, labels], one or several of each row."""
        if self.thresholds is not None:
            return decided(scores, self.thresholds)
        answers: np.ndarray = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
        return answers

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
        if self.thresholds is not None:
            # Each fold's were chosen on rows that its own model had not seen.
            several = [model.thresholds for model in (self, *others) if model.thresholds is not None]
            mean.thresholds = np.mean(several, axis=0).round(DECIMALS)
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

    def true_labels(self, split: str) -> tuple[np.ndarray, list[str]]:
        """Label indices of a split, and the names: the model's labels, then those that no training row has."""
        names = self.run.split(split, ["label"])["label"].to_pylist()
        known = set(self.labels)
        every = self.labels + sorted(set(names) - known)
        index = {name: position for position, name in enumerate(every)}
        return np.array([index[name] for name in names], dtype=np.int64), every

    def evaluate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Metrics and report of the validation and test rows, with the majority class as the baseline."""
        if self.run.multi_label:
            return self._evaluate_sets()
        found, counts = np.unique(self.run.split("train", ["label"])["label"].to_pylist(), return_counts=True)
        training = dict(zip(found.tolist(), counts.tolist(), strict=True))
        majority = max(training, key=lambda label: training[label])
        splits: dict[str, ClassificationSplit] = {}
        always: dict[str, Metrics] = {}
        for split, scores in self._scores.items():
            truth, names = self.true_labels(split)
            if len(names) > len(self.labels):
                unseen = ", ".join(names[len(self.labels) :][:5])
                self.run.log(
                    f"The {split} rows have labels that no training row has, always wrong: {unseen}", "warning"
                )
            rows = Rows(
                truth=truth,
                scores=np.pad(scores, ((0, 0), (0, len(names) - len(self.labels)))),
                labels=names,
                training_rows=np.array([training.get(name, 0) for name in names]),
            )
            splits[split] = self._split_report(split, rows)
            always[split] = majority_metrics(rows, names.index(majority))
        report = ClassificationReport(
            labels=self.labels,
            splits=splits,
            baseline=Baseline(name="majority class", label=majority, **always),
            temperature=self.temperature,
            notes=list(self.notes),
        )
        return {name: part.metrics for name, part in splits.items()}, report.model_dump(mode="json")

    def _evaluate_sets(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """As `evaluate`, of several labels; the baseline always answers the labels that most training rows have, or the
        most frequent one."""
        assert self.thresholds is not None
        training = label_sets(self.run, "train")
        counts = Counter(label for labels in training for label in labels)
        usual = [label for label in self.labels if 2 * counts[label] > len(training)]
        usual = usual or [max(self.labels, key=lambda label: counts[label])]
        splits: dict[str, ClassificationSplit] = {}
        always: dict[str, Metrics] = {}
        for split, scores in self._scores.items():
            sets = label_sets(self.run, split)
            names = self.labels + sorted({label for labels in sets for label in labels} - set(self.labels))
            more = len(names) - len(self.labels)
            if more:
                unseen = ", ".join(names[len(self.labels) :][:5])
                self.run.log(f"The {split} rows have labels that no training row has, never found: {unseen}", "warning")
            rows = SetRows(
                truth=indicator(sets, names),
                scores=np.pad(scores, ((0, 0), (0, more))),
                labels=names,
                thresholds=np.pad(self.thresholds, (0, more), constant_values=1.0),
                training_rows=np.array([counts[name] for name in names]),
            )
            splits[split] = self._report_sets(split, rows)
            always[split] = baseline_metrics(rows.truth, np.isin(names, usual))
        report = ClassificationReport(
            labels=self.labels,
            multi_label=True,
            splits=splits,
            baseline=Baseline(name="most frequent labels", label=", ".join(usual), **always),
            temperature=self.temperature,
            notes=list(self.notes),
        )
        return {name: part.metrics for name, part in splits.items()}, report.model_dump(mode="json")

    def _report_sets(self, split: str, rows: SetRows) -> ClassificationSplit:
        report = evaluate_sets(rows, self.run.seed)
        wrong = worst_sets(rows)
        numbers = self.run.split(split, ["row"])["row"].take(wrong).to_pylist()
        shown = zip(wrong.tolist(), numbers, self.shown(split, wrong), strict=True)
        report.mistakes = [wrong_set(rows, place, number, text) for place, number, text in shown]
        right = (rows.answers == (rows.truth > 0)).all(axis=1)
        for group, parts in self.slices(split).items():
            report.slices += sliced(group, parts, right)
        return report

    def _split_report(self, split: str, rows: Rows) -> ClassificationSplit:
        report = evaluate_rows(rows, self.run.seed)
        wrong = worst_mistakes(rows)
        numbers = self.run.split(split, ["row"])["row"].take(wrong).to_pylist()
        report.mistakes = [
            mistake(rows, place, number, shown)
            for place, number, shown in zip(wrong.tolist(), numbers, self.shown(split, wrong), strict=True)
        ]
        if self.temperature.value != 1.0:
            assert report.calibration is not None
            truth = np.where(rows.truth < len(self.labels), rows.truth, -1)
            report.calibration.error_before = calibration_error(truth, self._untempered[split])
        right = rows.scores.argmax(axis=1) == rows.truth
        for group, parts in self.slices(split).items():
            report.slices += sliced(group, parts, right)
        return report

    def slices(self, split: str) -> dict[str, Parts]:
        """How the rows of a split are parted, by what its columns say."""
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
            same = self._same(answer, served, ours)
            cases[case.name] = "same" if same and difference <= TOLERANCE else "differs"
        flips = sum(outcome == "differs" for outcome in cases.values())
        return EdgeCases(examples=len(cases), label_flips=flips, max_abs_difference=largest, cases=cases)

    def _same(self, answer: dict[str, Any], served: np.ndarray, ours: np.ndarray) -> bool:
        """Whether a served answer is PyTorch's, whose probabilities are `ours`, both float [labels]. Of two scores that
        are equal to the last digits either may come first, or lie on either side of a threshold."""
        if self.thresholds is None:
            return bool(answer["label"] == self.labels[int(ours.argmax())] or ours.max() - served.max() <= TOLERANCE)
        differing = set(answer["labels"]) ^ {self.labels[k] for k in np.flatnonzero(self.answers_to(ours[None])[0])}
        close = np.abs(ours - self.thresholds) <= TOLERANCE
        return all(close[self.labels.index(label)] for label in differing)

    def quantize(self, folder: Path) -> str:
        """Write the int8 variant beside model.onnx; how it was made. Trained networks of convolutions override it."""
        return quantize_dynamic(folder)

    def int8_variant(self, folder: Path) -> Variant:
        """Make and measure the int8 variant of an exported bundle."""
        split = self.certified_split()
        if self.run.multi_label:
            truth = indicator(label_sets(self.run, split), self.labels) > 0
        else:
            truth = self.true_labels(split)[0][:, None] == np.arange(len(self.labels))
        return certify_int8(
            folder,
            self.quantize(folder),
            lambda: self.raw_inputs(split),
            self._scores[split],
            truth,
            split,
            self.answers_to,
        )

    def _flips(self, answers: list[dict[str, Any]], ours: np.ndarray) -> int:
        """How many served answers are not PyTorch's, whose probabilities are float [rows, labels]; of several labels a
        row counts once, however many of them differ, but not for scores that are equal to a threshold as shown."""
        if self.thresholds is None:
            tops = ours.argmax(axis=1).tolist()
            return sum(answer["label"] != self.labels[top] for answer, top in zip(answers, tops, strict=True))
        served = indicator([answer["labels"] for answer in answers], self.labels) > 0
        close = np.abs(ours - self.thresholds) <= 2 * 10.0**-DECIMALS
        return int(((served != self.answers_to(ours)) & ~close).any(axis=1).sum())

    def certify(self, predictor: Predictor) -> Certificate:
        """Raw inputs through the served path, in batches, against PyTorch's probabilities; flips counted strictly."""
        split = self.certified_split()
        expected = self._scores[split]
        flips, difference, start = 0, 0.0, 0
        for batch in _batched(self.raw_inputs(split), _CERTIFY_BATCH):
            answers = predictor.predict([predictor.prepare(raw, index) for index, raw in enumerate(batch)])
            served = np.array([[answer["scores"][label] for label in self.labels] for answer in answers])
            ours = expected[start : start + len(batch)]
            flips += self._flips(answers, ours)
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


def label_sets(run: Run, split: str) -> list[list[str]]:
    """The labels of each row of a split, where rows have several."""
    found: list[list[str]] = run.split(split, ["labels"])["labels"].to_pylist()
    return found


def label_indices(run: Run, split: str, labels: list[str]) -> np.ndarray:
    """int64 [rows]: the labels of a split as indices; -1 for those that no training row has. Where rows have several
    labels uint8 [rows, labels]."""
    if run.multi_label:
        return indicator(label_sets(run, split), labels)
    index = {name: position for position, name in enumerate(labels)}
    names = run.split(split, ["label"])["label"].to_pylist()
    return np.array([index.get(name, -1) for name in names], dtype=np.int64)


def training_labels(run: Run) -> list[str]:
    """The labels of the training rows, sorted. Raises JobError where there is nothing to tell apart."""
    if run.multi_label:
        return _labels_of_sets(label_sets(run, "train"))
    labels = sorted(set(run.split("train", ["label"])["label"].to_pylist()))
    if not labels:
        raise JobError("too_few_rows", evidence="There is no training row.")
    if len(labels) < 2:
        raise JobError("one_class_only", evidence=f"Every training row has the label “{labels[0][:80]}”.")
    return labels


def _labels_of_sets(sets: list[list[str]]) -> list[str]:
    if not sets:
        raise JobError("too_few_rows", evidence="There is no training row.")
    if len(set(map(tuple, sets))) < 2:
        raise JobError("one_class_only", evidence=f"Every training row has the labels {', '.join(sets[0])[:80]}.")
    return sorted({label for labels in sets for label in labels})


def _batched(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
