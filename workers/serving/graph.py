"""Reading an ONNX graph before onnxruntime does: a model may compute, not reach for files, memory or code.

onnxruntime trusts what it loads: external data names files, sparse tensors name their dense size, and custom domains
name libraries. Models of ours hold none of these.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import onnx

from workers.contracts.errors import UserError

DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
# Operators that run subgraphs: no template exports them, and each can loop for ever.
_CONTROL_FLOW: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_MAX_NODES: Final = 100_000
# Bytes per element where it is not packed; a tensor's declared size may not exceed what the file can hold.
_SLACK: Final = 4096


def check_model(data: bytes) -> None:
    """Refuse a model that onnxruntime should not see. Raises UserError `bundle_invalid`."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise _refused("model.onnx cannot be read") from error
    if strange := {entry.domain for entry in model.opset_import} - DOMAINS:
        raise _refused(f"model.onnx uses the operator domain {min(strange)[:40]!r}")
    if model.functions or model.training_info:
        raise _refused("model.onnx defines functions or training steps")
    graph = model.graph
    if len(graph.node) > _MAX_NODES:
        raise _refused("model.onnx has too many nodes")
    if graph.sparse_initializer:
        raise _refused("model.onnx holds sparse tensors")
    declared = sum(map(_checked_size, _tensors(graph)))
    if declared > len(data) + _SLACK:
        raise _refused("model.onnx declares more weights than it holds")


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise _refused(f"model.onnx uses the operator domain {node.domain[:40]!r}")
        if node.op_type in _CONTROL_FLOW:
            raise _refused(f"model.onnx uses the operator {node.op_type}")
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)


def _attribute_tensors(attribute: Any) -> Iterable[Any]:
    kinds = onnx.AttributeProto
    if attribute.type in (kinds.GRAPH, kinds.GRAPHS):
        raise _refused("model.onnx holds subgraphs")
    if attribute.type in (kinds.SPARSE_TENSOR, kinds.SPARSE_TENSORS):
        raise _refused("model.onnx holds sparse tensors")
    if attribute.type == kinds.TENSOR:
        return [attribute.t]
    return list(attribute.tensors)


def _checked_size(tensor: Any) -> int:
    """The bytes that a tensor's type and shape declare."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise _refused("model.onnx points to data outside of itself")
    try:
        bytes_each = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        raise _refused("model.onnx holds a tensor of unknown type") from None
    count = 1
    for size in tensor.dims:
        if size < 0:
            raise _refused("model.onnx holds a tensor of negative size")
        count *= size
    # Strings and packed small integers take less or more than numpy says: count them by their own fields.
    if tensor.data_type == onnx.TensorProto.STRING:
        if count != len(tensor.string_data):
            raise _refused("model.onnx holds a tensor that contradicts its shape")
        return 0
    return count if tensor.data_type in _PACKED else count * bytes_each


_PACKED: Final = frozenset(
    getattr(onnx.TensorProto, name)
    for name in ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2")
    if hasattr(onnx.TensorProto, name)
)


def _refused(reason: str) -> UserError:
    return UserError("bundle_invalid", f"The bundle is not acceptable: {reason}.")
