"""The int8 variant of a bundle's model: made by onnxruntime, measured beside the model itself, kept in the bundle.

It answers a little differently by nature, so its certificate is another one: how many answers differ, what that costs
in accuracy, what it saves in bytes and milliseconds on this machine.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from workers.contracts.manifest import Latency, Variant
from workers.inference import runtime
from workers.inference.core import MODEL, LabelPredictor

INT8: Final = "model.int8.onnx"
# How much accuracy an int8 variant may cost, as a share of 1.
ALLOWED_DROP: Final = 0.01
_BATCH = 64
_TIMED_BATCH = 32


def quantize_dynamic(folder: Path) -> str:
    """Weights of matrices and embeddings in int8, activations as they come: for texts and tables."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        folder / MODEL,
        folder / INT8,
        op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    return "dynamic"


def quantize_static(folder: Path, name: str, batches: Iterable[np.ndarray]) -> str:
    """Convolutions in int8, with the ranges of activations as `batches` of real inputs show them: for images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    prepared = folder / "prepared.onnx"
    try:
        # Folds batch norms into convolutions, which quantisation needs.
        quant_pre_process(folder / MODEL, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            folder / INT8,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
    finally:
        prepared.unlink(missing_ok=True)
    return "static"


def certify_int8(
    folder: Path,
    method: str,
    raw_inputs: Callable[[], Iterator[Any]],
    expected: np.ndarray,
    truth: np.ndarray,
    split: str,
    answers_to: Callable[[np.ndarray], np.ndarray],
) -> Variant:
    """Measure `model.int8.onnx` beside `model.onnx`, both through the served path on one thread.

    `expected` float [rows, labels]: PyTorch's probabilities for the raw inputs; `truth` bool [rows, labels];
    `answers_to` makes such an array of probabilities. A row is right where all of it is.
    """
    whole, small = (_load(folder, name) for name in (MODEL, INT8))
    served = _scores(small, raw_inputs())
    answers, ours = answers_to(served), answers_to(expected)
    accuracy, of_fp32 = (float((one == truth).all(axis=1).mean()) for one in (answers, ours))
    sample = [raw for raw, _ in zip(raw_inputs(), range(_TIMED_BATCH), strict=False)]
    drop = of_fp32 - accuracy
    reason = "" if drop <= ALLOWED_DROP else f"Accuracy falls by {drop:.3f}; {ALLOWED_DROP} is allowed."
    return Variant(
        name="int8",
        file=INT8,
        method="static" if method == "static" else "dynamic",
        bytes=(folder / INT8).stat().st_size,
        bytes_fp32=(folder / MODEL).stat().st_size,
        split=split,
        examples=len(served),
        label_flips=int((answers != ours).any(axis=1).sum()),
        max_abs_difference=float(np.abs(served - expected).max()),
        accuracy=accuracy,
        accuracy_fp32=of_fp32,
        allowed_drop=ALLOWED_DROP,
        latency=_latency(small, sample),
        latency_fp32=_latency(whole, sample),
        deployable=not reason,
        reason=reason,
    )


def _load(folder: Path, model: str) -> LabelPredictor:
    predictor = runtime.load(folder, threads=1, model=model)
    assert isinstance(predictor, LabelPredictor)
    return predictor


def _scores(predictor: LabelPredictor, raw_inputs: Iterator[Any]) -> np.ndarray:
    parts, batch = [], []
    for raw in raw_inputs:
        batch.append(predictor.prepare(raw))
        if len(batch) == _BATCH:
            parts.append(predictor.scores(batch))
            batch = []
    return np.concatenate([*parts, predictor.scores(batch)] if batch else parts)


def _latency(predictor: LabelPredictor, raws: Sequence[Any]) -> Latency:
    """Milliseconds of the model's run and what is around it, for inputs that are prepared already."""
    items = [predictor.prepare(raw) for raw in raws]
    many = (items * _TIMED_BATCH)[:_TIMED_BATCH]
    return Latency(single=_median_ms(predictor, [items[:1]] * 30), batch_32=_median_ms(predictor, [many] * 7))


def _median_ms(predictor: LabelPredictor, batches: Sequence[Sequence[Any]]) -> float:
    predictor.predict(batches[0])
    times = []
    for batch in batches:
        started = time.perf_counter()
        predictor.predict(batch)
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times), 4)
