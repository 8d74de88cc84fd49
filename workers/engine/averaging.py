"""Several networks that answer as one."""

import torch
from torch import nn

from workers.engine.links import probabilities, scores_of


class MeanOfNetworks(nn.Module):
    """Answers with the mean of several classifiers' probabilities; all take the same input and know the same labels."""

    def __init__(self, networks: list[nn.Module], multi_label: bool = False) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Scores, float32 [batch, labels], of the mean probability."""
        answers = [probabilities(network(inputs).float(), self.multi_label) for network in self.networks]
        return scores_of(torch.stack(answers).mean(dim=0), self.multi_label)
