"""PyTorch → ONNX: one self-contained file, dynamic batch, probabilities as the output."""

import warnings
from pathlib import Path

import torch
from torch import nn

from workers.engine.links import probabilities

OPSET = 18


class Answering(nn.Module):
    """A classifier that answers with probabilities."""

    def __init__(self, model: nn.Module, multi_label: bool) -> None:
        super().__init__()
        self.model = model
        self.multi_label = multi_label

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """float32 [batch, labels], of one label each rows sum to 1."""
        return probabilities(self.model(inputs), self.multi_label)


def export_onnx(
    model: nn.Module, example: torch.Tensor, name: str, axes: dict[int, str], path: Path, *, multi_label: bool = False
) -> None:
    """Write a classifier as `path`: input `name`, output `scores`. Checked by onnx.checker; no data beside the file.

    The TorchScript exporter is used: these networks are straight-line, and it takes a second where the other takes ten.
    """
    import onnx

    served = Answering(model, multi_label).cpu().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            served,
            (example,),
            str(path),
            input_names=[name],
            output_names=["scores"],
            dynamic_axes={name: axes, "scores": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    exported = onnx.load(str(path), load_external_data=False)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in exported.graph.initializer):
        raise ValueError("the exported model keeps weights outside its file")
    onnx.checker.check_model(exported, full_check=True)
