"""A recommender as ONNX. The graph is short and its shapes are free, so it is written down here rather than traced."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from workers.engine.recommenders.linear import Component, LinearRecommender


class _Graph:
    """Nodes and tensors, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The name of the new node's output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def tensor(self, values: np.ndarray) -> str:
        name = f"tensor_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def cast(self, name: str) -> str:
        return self.node("Cast", name, to=TensorProto.FLOAT)


def write_onnx(model: LinearRecommender, path: Path) -> None:
    """Write the model as RankedItems serves it: `history` int64 (oldest item first) and `weights` float32 [batch,
    length] → `scores`. Row number `catalogue` is what shorter histories are padded with, at their ends."""
    catalogue = len(model.components[0].gather)
    graph = _Graph()
    parts = [_component(graph, component, catalogue) for component in model.components]
    graph.node("Sum", *parts)
    graph.nodes[-1].output[0] = "scores"
    written = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "linear_recommender",
            [
                helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", "length"]),
                helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", "length"]),
            ],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", catalogue])],
            graph.tensors,
        ),
        # IR 10 and opset 18 are read by every onnxruntime since 1.18.
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.checker.check_model(written)
    path.write_bytes(written.SerializeToString())


def _component(graph: _Graph, one: Component, catalogue: int) -> str:
    # Only the rows that were gathered become float32: the matrix stays half as large in memory.
    rows = graph.cast(graph.node("Gather", graph.tensor(_padded(one.gather.half())), "history"))
    weights = "weights" if one.decay == 1 else graph.node("Mul", "weights", _recency(graph, one.decay, catalogue))
    if one.targets is not None:
        return _scattered(graph, one, rows, weights, catalogue)
    middle = graph.tensor(np.array([1]))
    sums = graph.node("MatMul", graph.node("Unsqueeze", weights, middle), rows)
    taste = graph.node("Squeeze", sums, middle)
    if one.spread is None:
        return taste
    spread = np.ascontiguousarray(one.spread.half().cpu().numpy().T)
    return graph.node("MatMul", taste, graph.cast(graph.tensor(spread)))


def _recency(graph: _Graph, decay: float, catalogue: int) -> str:
    """decay^n for an item that n others of the history came after."""
    real = graph.cast(graph.node("Less", "history", graph.tensor(np.array(catalogue))))
    later = graph.node("CumSum", real, graph.tensor(np.array(1)), exclusive=1, reverse=1)
    return graph.node("Pow", graph.tensor(np.array(decay, np.float32)), later)


def _scattered(graph: _Graph, one: Component, rows: str, weights: str, catalogue: int) -> str:
    """Each item's entries added to its targets."""
    assert one.targets is not None
    flat = graph.tensor(np.array([0, -1]))
    last = graph.tensor(np.array([2]))
    values = graph.node("Reshape", graph.node("Mul", rows, graph.node("Unsqueeze", weights, last)), flat)
    targets = graph.node("Gather", graph.tensor(_padded(one.targets)), "history")
    places = graph.node("Reshape", graph.node("Cast", targets, to=TensorProto.INT64), flat)
    batch = graph.node("Shape", "history", start=0, end=1)
    shape = graph.node("Concat", batch, graph.tensor(np.array([catalogue])), axis=0)
    nothing = graph.node("Expand", graph.tensor(np.array(0, np.float32)), shape)
    return graph.node("ScatterElements", nothing, places, values, axis=1, reduction="add")


def _padded(matrix: torch.Tensor) -> np.ndarray:
    rows = matrix.cpu().numpy()
    return np.vstack([rows, np.zeros((1, rows.shape[1]), rows.dtype)])
