"""The models that serving is measured with: as small as they come, so that what is seen is the server."""

import functools
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.serving import bundles

TEXT = "a quiet little film that grows on you and stays long after the lights have come up again"
VOCABULARY, WIDTH = 8000, 64
IMAGE_SIZE = 32


@functools.cache
def tokenizer() -> Tokenizer:
    """BPE on made-up words, and on TEXT."""
    rng = np.random.default_rng(0)
    syllables = ["ba", "do", "fi", "gu", "ka", "lo", "mi", "nu", "pe", "ra", "si", "to", "ve", "wo", "xi", "za"]
    corpus = [" ".join("".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(20)) for _ in range(2000)]
    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    made.train_from_iterator([*corpus, *[TEXT] * 50], trainer)
    return made


def text_bundle(path: Path, *, seed: int = 0, tokens: int = 64) -> Path:
    """BPE tokenizer, embedding bag, linear layer: the text model of the baselines. Longer texts are cut."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Gather", ["embedding", "token_ids"], ["words"], axis=0),
        helper.make_node("ReduceMean", ["words", "axis"], ["text"], keepdims=0),
        helper.make_node("MatMul", ["text", "linear"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["scores"], axis=-1),
    ]
    weights = {
        "embedding": rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32),
        "linear": rng.normal(size=(WIDTH, 2)).astype(np.float32),
        "axis": np.array([1], dtype=np.int64),
    }
    model = _model(nodes, weights, ("token_ids", TensorProto.INT64, ["batch", "length"]), 2)
    limits = {"max_chars": 20 * tokens, "max_tokens": tokens}
    return bundles.text_bundle(path, model=model, tokenizer=tokenizer(), preprocessing=limits)


def image_bundle(path: Path, *, width: int = 32) -> Path:
    """A residual network for images of 32×32: conv, conv, residual block, conv, residual block, average, linear."""
    rng, weights, nodes = np.random.default_rng(0), {}, []

    def conv(source: str, name: str, cin: int, cout: int) -> str:
        weights[f"{name}.w"] = rng.normal(0, (2 / (9 * cin)) ** 0.5, (cout, cin, 3, 3)).astype(np.float32)
        weights[f"{name}.b"] = np.zeros(cout, dtype=np.float32)
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [f"{name}.c"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"{name}.c"], [name]))
        return name

    def pool(source: str) -> str:
        nodes.append(helper.make_node("MaxPool", [source], [f"{source}.p"], kernel_shape=[2, 2], strides=[2, 2]))
        return f"{source}.p"

    def residual(source: str, name: str, channels: int) -> str:
        inner = conv(conv(source, f"{name}1", channels, channels), f"{name}2", channels, channels)
        nodes.append(helper.make_node("Add", [source, inner], [name]))
        return name

    weights |= {"scale": np.float32(255), "linear": rng.normal(size=(width * 4, 10)).astype(np.float32)}
    nodes += [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "scale"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["channels"], perm=[0, 3, 1, 2]),
    ]
    last = pool(conv(conv("channels", "a", 3, width), "b", width, width * 2))
    last = pool(conv(residual(last, "r", width * 2), "d", width * 2, width * 4))
    last = residual(last, "s", width * 4)
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "linear"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["scores"], axis=-1),
    ]
    source = ("images", TensorProto.UINT8, ["batch", IMAGE_SIZE, IMAGE_SIZE, 3])
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    labels = [f"class {number}" for number in range(10)]
    return bundles.image_bundle(path, model=_model(nodes, weights, source, 10), labels=labels, preprocessing=size)


def jpeg() -> bytes:
    """A picture of 32×32, as a client sends it."""
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def unpacked(bundle: Path) -> Path:
    """The folder of a bundle, beside it."""
    folder = bundle.with_suffix("")
    with zipfile.ZipFile(bundle) as packed:
        packed.extractall(folder)
    return folder


def _model(
    nodes: list[Any], weights: dict[str, Any], source: tuple[str, int, list[Any]], classes: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info(*source)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
