"""The one served form of every recommender, in PyTorch and as ONNX: scores = (Σ weight · P[item]) @ Qᵀ.

For EASE, P is its item-to-item matrix and there is no Q; for ALS, Q holds the item factors and P folds a history in.
"""

from pathlib import Path

import numpy as np
import scipy.sparse
import torch


class LinearRecommender(torch.nn.Module):
    """Weights are rounded to float16 at once: what is evaluated is what is stored and served. Sums are float32."""

    gather: torch.Tensor  # P, float32 of float16 precision [catalogue, width]
    spread: torch.Tensor | None  # Q, the same [catalogue, width]; None where width is the catalogue

    def __init__(self, gather: torch.Tensor, spread: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("gather", gather.half().float())
        self.register_buffer("spread", None if spread is None else spread.half().float())

    @property
    def width(self) -> int:
        """Numbers per item of a history."""
        return int(self.gather.shape[1])

    def forward(self, items: torch.Tensor, starts: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Scores, float32 [users, catalogue], of histories that lie end to end: `items` int64 and `weights` float32
        [interactions], `starts` int64 [users]."""
        taste = torch.nn.functional.embedding_bag(items, self.gather, starts, mode="sum", per_sample_weights=weights)
        return taste if self.spread is None else taste @ self.spread.T

    @torch.inference_mode()
    def scores(self, histories: scipy.sparse.csr_array) -> np.ndarray:
        """Scores, float32 [users, catalogue], of histories [users, catalogue]."""
        device = self.gather.device
        items = torch.from_numpy(histories.indices.astype(np.int64)).to(device)
        starts = torch.from_numpy(histories.indptr[:-1].astype(np.int64)).to(device)
        weights = torch.from_numpy(histories.data.astype(np.float32)).to(device)
        found: np.ndarray = self(items, starts, weights).cpu().numpy()
        return found


def write_onnx(model: LinearRecommender, path: Path) -> None:
    """Write the model as RankedItems serves it: `history` int64 and `weights` float32 [batch, length] → `scores`.

    The graph is six nodes long and its shapes are free, so it is written down here rather than traced.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    catalogue, width = model.gather.shape
    # Row number `catalogue` is what shorter histories are padded with.
    padded = np.vstack([model.gather.half().cpu().numpy(), np.zeros((1, width), np.float16)])
    tensors = [numpy_helper.from_array(padded, "gather"), numpy_helper.from_array(np.array([1]), "middle")]
    nodes = [
        helper.make_node("Gather", ["gather", "history"], ["half_rows"]),
        # Only the rows that were gathered become float32: the matrix stays half as large in memory.
        helper.make_node("Cast", ["half_rows"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "middle"], ["weight_rows"]),
        helper.make_node("MatMul", ["weight_rows", "rows"], ["sums"]),
        helper.make_node("Squeeze", ["sums", "middle"], ["scores" if model.spread is None else "taste"]),
    ]
    if model.spread is not None:
        spread = np.ascontiguousarray(model.spread.half().cpu().numpy().T)
        tensors.append(numpy_helper.from_array(spread, "half_spread"))
        nodes.append(helper.make_node("Cast", ["half_spread"], ["spread"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("MatMul", ["taste", "spread"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "linear_recommender",
        [
            helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", "length"]),
            helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", "length"]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", catalogue])],
        tensors,
    )
    # IR 10 and opset 18 are read by every onnxruntime since 1.18.
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(written)
    path.write_bytes(written.SerializeToString())
