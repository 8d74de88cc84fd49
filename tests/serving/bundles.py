"""Small real bundles: ONNX graphs with known answers, made in milliseconds.

The text model knows two words: "good" is positive, "bad" is negative; `flipped` turns it round, so that two versions
answer differently on purpose. The image model says whether an image is more red or more blue.
"""

import base64
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from workers.inference import runtime
from workers.inference.tabular import DATE_WIDTH

WORDS = {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3, "film": 4}
TEXT_LABELS = ["negative", "positive"]
IMAGE_LABELS = ["blue", "red"]
IMAGE_SIZE = 8


def text_model(*, flipped: bool = False, more_words: int = 0, weight: float = 2.0) -> onnx.ModelProto:
    """token_ids int64 [batch, length] → scores float32 [batch, 2]: the sum of word weights, then a softmax.

    `more_words` are 8 bytes of weights each, random ones, which no tokenizer finds.
    """
    weights = np.zeros((len(WORDS) + more_words, 2), dtype=np.float32)
    weights[len(WORDS) :] = np.random.default_rng().random((more_words, 2), dtype=np.float32)
    weights[WORDS["good"]], weights[WORDS["bad"]] = (-weight, weight), (weight, -weight)
    if flipped:
        weights = weights[:, ::-1].copy()
    nodes = [
        helper.make_node("Gather", ["weights", "token_ids"], ["words"], axis=0),
        helper.make_node("ReduceSum", ["words", "axis"], ["sums"], keepdims=0),
        helper.make_node("Softmax", ["sums"], ["scores"], axis=-1),
    ]
    constants = {"weights": weights, "axis": np.array([1], dtype=np.int64)}
    return _model(nodes, constants, ("token_ids", TensorProto.INT64, ["batch", "length"]))


def image_model(*, dear: int = 0) -> onnx.ModelProto:
    """images uint8 [batch, H, W, 3] → scores float32 [batch, 2]. `dear` adds that many large multiplications."""
    to_scores = np.array([[0, 4], [0, 0], [4, 0]], dtype=np.float32)  # channels → (blue, red)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "to_scores"], ["sums"]),
    ]
    constants = {"scale": np.float32(255), "axes": np.array([1, 2], dtype=np.int64), "to_scores": to_scores}
    last = "sums"
    if dear:
        constants["widen"] = np.zeros((2, 1024), dtype=np.float32)
        constants["square"] = np.eye(1024, dtype=np.float32)
        constants["narrow"] = np.zeros((1024, 2), dtype=np.float32)
        nodes.append(helper.make_node("MatMul", ["sums", "widen"], ["wide0"]))
        for step in range(dear):
            nodes.append(helper.make_node("MatMul", [f"wide{step}", "square"], [f"wide{step + 1}"]))
        nodes.append(helper.make_node("MatMul", [f"wide{dear}", "narrow"], ["zeros"]))
        nodes.append(helper.make_node("Add", ["sums", "zeros"], ["total"]))
        last = "total"
    nodes.append(helper.make_node("Softmax", [last], ["scores"], axis=-1))
    return _model(nodes, constants, ("images", TensorProto.UINT8, ["batch", IMAGE_SIZE, IMAGE_SIZE, 3]))


def _model(nodes: list[Any], constants: dict[str, Any], source: tuple[str, int, list[Any]]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def png(red: int, blue: int, size: int = 16) -> bytes:
    """A PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (size, size), (red, 0, blue)).save(out, "PNG")
    return out.getvalue()


def word_tokenizer() -> Tokenizer:
    """One id per word of WORDS."""
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def text_bundle(
    path: Path,
    *,
    flipped: bool = False,
    model: onnx.ModelProto | None = None,
    tokenizer: Tokenizer | None = None,
    more_files: dict[str, bytes] | None = None,
    answered: bool = True,
    inputs: Sequence[Any] = ("good film", "bad film"),
    **changes: Any,
) -> Path:
    """A text bundle at `path`. `changes` replace fields of the manifest.

    `answered` False: the model is not run here, its reference cases are made up.
    """
    files = {
        "model.onnx": (model or text_model(flipped=flipped)).SerializeToString(),
        "tokenizer.json": (tokenizer or word_tokenizer()).to_str().encode(),
        **(more_files or {}),
    }
    manifest = _manifest("text", "text-labels", TEXT_LABELS, {"max_chars": 1000, "max_tokens": 64})
    return _write(path, files, {**manifest, **changes}, list(inputs), answered=answered)


def pair_bundle(path: Path) -> Path:
    """A text bundle whose inputs are two texts: the words of both count."""
    pairs = [{"text": "good film", "text_pair": "film"}, {"text": "film", "text_pair": "bad film"}]
    settings = {"max_chars": 1000, "max_tokens": 64, "pairs": True}
    return text_bundle(path, inputs=pairs, preprocessing=settings)


def variant_bundle(path: Path, *, deployable: bool = True) -> Path:
    """A text bundle with a variant that is a little less sure: `weight` 1.5 instead of 2."""
    small = text_model(weight=1.5).SerializeToString()
    latency = {"single": 0.1, "batch_32": 1.0}
    variant = {
        "name": "int8",
        "file": "model.int8.onnx",
        "method": "dynamic",
        "bytes": len(small),
        "bytes_fp32": 4 * len(small),
        "split": "test",
        "examples": 2,
        "label_flips": 0,
        "max_abs_difference": 0.03,
        "accuracy": 0.9,
        "accuracy_fp32": 0.91,
        "allowed_drop": 0.01,
        "latency": latency,
        "latency_fp32": latency,
        "deployable": deployable,
        "reason": "" if deployable else "Accuracy falls by 0.300; 0.01 is allowed.",
    }
    return text_bundle(path, more_files={"model.int8.onnx": small}, variants=[variant])


def image_bundle(path: Path, *, dear: int = 0, model: onnx.ModelProto | None = None, **changes: Any) -> Path:
    """An image bundle at `path`. `changes` replace fields of the manifest."""
    files = {"model.onnx": (model or image_model(dear=dear)).SerializeToString()}
    manifest = _manifest("image", "image-labels", IMAGE_LABELS, {"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    images = [{"image": base64.b64encode(png(*colours)).decode()} for colours in ((255, 0), (0, 255))]
    return _write(path, files, {**manifest, **changes}, images)


def table_bundle(path: Path) -> Path:
    """A bundle of tables: `amount` above 0 is "positive"; `day` and `colour` change nothing."""
    to_scores = np.zeros((1 + DATE_WIDTH + 1, 2), dtype=np.float32)
    to_scores[0] = (-1, 1)
    nodes = [
        helper.make_node("IsNaN", ["features"], ["gaps"]),
        helper.make_node("Where", ["gaps", "nothing", "features"], ["filled"]),
        helper.make_node("Cast", ["filled"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Clip", ["single", "least", "most"], ["bounded"]),
        helper.make_node("MatMul", ["bounded", "to_scores"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["scores"], axis=-1),
    ]
    constants = {
        "nothing": np.float64(0),
        "least": np.float32(-10),
        "most": np.float32(10),
        "to_scores": to_scores,
    }
    model = _model(nodes, constants, ("features", TensorProto.DOUBLE, ["batch", len(to_scores)]))
    columns = [
        {"name": "amount", "type": "number"},
        {"name": "day", "type": "date", "format": "iso"},
        {"name": "colour", "type": "category", "values": ["red", "blue"]},
    ]
    manifest = _manifest("tabular", "table-labels", TEXT_LABELS, {"columns": columns, "ignored": ["id"]})
    rows = [{"amount": 3, "day": "2026-01-31", "colour": "red"}, {"amount": "-3,5"}]
    return _write(path, {"model.onnx": model.SerializeToString()}, manifest, rows)


def ranking_bundle(path: Path) -> Path:
    """A recommendation bundle: whoever knows item i is offered its neighbours i+1 first, i+2 next, of items a to f.

    User u1 knows a; the more popular item comes first in the alphabet.
    """
    items, count = list("abcdef"), 6
    near = np.zeros((count + 1, count), dtype=np.float32)
    for item in range(count):
        near[item, (item + 1) % count], near[item, (item + 2) % count] = 2, 1
    nodes = [
        helper.make_node("Gather", ["near", "history"], ["rows"], axis=0),
        helper.make_node("Unsqueeze", ["weights", "last"], ["wide"]),
        helper.make_node("Mul", ["rows", "wide"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axis"], ["scores"], keepdims=0),
    ]
    constants = {"near": near, "last": np.array([2], dtype=np.int64), "axis": np.array([1], dtype=np.int64)}
    inputs = [
        helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", "length"]),
        helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", "length"]),
    ]
    output = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", count])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "ranking", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    arrays = io.BytesIO()
    popularity = np.array([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], dtype=np.float32)
    np.savez(arrays, starts=np.array([0, 1]), items=np.array([0], dtype=np.int32), popularity=popularity)
    files = {
        "model.onnx": model.SerializeToString(),
        "items.json": json.dumps(items).encode(),
        "users.json": json.dumps(["u1"]).encode(),
        "histories.npz": arrays.getvalue(),
    }
    manifest = {
        **_manifest("recommendation", "ranked-items", [], {"k": 10, "width": count}),
        "template": "recommendation",
    }
    return _write(path, files, manifest, [{"user": "u1", "k": 2}, {"items": ["b"], "k": 3}])


def _manifest(kind: str, predictor: str, labels: list[str], preprocessing: dict[str, Any]) -> dict[str, Any]:
    return {
        "manifest_version": 1,
        "name": "test",
        "template": f"{kind}-classification",
        "kind": kind,
        "predictor": predictor,
        "input_schema": {"type": "string"},
        "output_schema": {"type": "object"},
        "preprocessing": preprocessing,
        "labels": labels,
        "metrics": {},
        "certificate": {
            "examples": 2,
            "label_flips": 0,
            "max_abs_difference": 0.0,
            "tolerance": 1e-4,
            "passed": True,
        },
        "provenance": {
            "job": "job_" + "a" * 24,
            "attempt": 1,
            "dataset": "dst_" + "a" * 24,
            "dataset_version": "dsv_" + "a" * 24,
            "dataset_number": 1,
            "dataset_hash": "0" * 64,
            "template": f"{kind}-classification",
            "preset": "fast",
            "parameters": {},
            "seed": 0,
            "code_version": "test",
            "torch_version": "none",
            "trained_at": "2026-01-01T00:00:00Z",
            "device": "cpu",
        },
    }


def _write(
    path: Path, files: dict[str, bytes], manifest: dict[str, Any], inputs: list[Any], *, answered: bool = True
) -> Path:
    """The zip, with reference cases answered by the model itself where it loads."""
    cases = _answered(files, manifest, inputs) if answered else [{"input": raw, "prediction": {}} for raw in inputs]
    files["reference.json"] = json.dumps({"cases": cases}).encode()
    facts = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("manifest.json", json.dumps({"files": facts, **manifest}))
        for name, data in files.items():
            bundle.writestr(name, data)
    return path


def _answered(files: dict[str, bytes], manifest: dict[str, Any], inputs: list[Any]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            (folder / file).write_bytes(data)
        try:
            predictor = runtime.load(folder, threads=1)
            answers = predictor.predict(predictor.parse(inputs))
        except Exception:  # a model that is broken on purpose: whatever its cases say, it must be refused before
            answers = [{"label": "none"} for _ in inputs]
    return [{"input": raw, "prediction": answer} for raw, answer in zip(inputs, answers, strict=True)]


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
