"""Several networks that answer as one."""

import torch
from torch import nn


class MeanOfNetworks(nn.Module):
    """Answers with the mean of several classifiers' probabilities; all take the same input and know the same labels."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Scores before softmax, float32 [batch, labels]: softmax of them is the mean probability."""
        probabilities = [torch.softmax(network(inputs).float(), dim=1) for network in self.networks]
        return torch.stack(probabilities).mean(dim=0).clamp(min=1e-12).log()
