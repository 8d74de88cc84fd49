"""The text network: words, word parts and short phrases in a bag, and small convolutions beside it."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from workers.engine.links import probabilities, scores_of

_MODULUS = 2_147_483_629
_MULTIPLIER = 1_000_003


def phrase_hashes(tokens: torch.Tensor, longest: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Hashes of all runs of 2, 3, … `longest` tokens, and where such a run is whole (no padding).

    tokens: int64 [batch, length]; each pair is int64 and bool [batch, length - n + 1]. Products stay below 2^62.
    """
    hashes = tokens
    found = []
    for n in range(2, longest + 1):
        last = tokens[:, n - 1 :]
        hashes = torch.remainder(hashes[:, :-1] * _MULTIPLIER + last * (7919 + 2 * n), _MODULUS)
        found.append((hashes, (last > 0) & (tokens[:, : 1 - n] > 0)))
    return found


def phrase_table(batches: list[torch.Tensor], longest: int, most: int) -> np.ndarray:
    """int32 [2^k]: hash modulo the table's size → number of a phrase seen in training, 1, 2, …; 0 for all others.

    Phrases seen once are kept only where the data is small; of too many, the most frequent ones are. So unseen phrases
    add nothing, instead of the noise of a shared bucket, and only phrases that occur have weights.
    """
    seen = [
        torch.unique(hashes[whole], return_counts=True) for t in batches for hashes, whole in phrase_hashes(t, longest)
    ]
    if not seen:
        return np.zeros(2, dtype=np.int32)
    hashes, inverse = np.unique(torch.cat([h for h, _ in seen]).numpy(), return_inverse=True)
    counts = np.bincount(inverse, weights=torch.cat([c for _, c in seen]).numpy())
    if len(hashes) > 30_000:
        hashes, counts = hashes[counts >= 2], counts[counts >= 2]
    hashes = hashes[np.sort(np.argsort(-counts, kind="stable")[:most])]
    size = 1 << max(12, int(np.ceil(np.log2(16 * max(1, len(hashes))))))
    table = np.zeros(size, dtype=np.int32)
    places = np.unique(hashes % size)
    table[places] = np.arange(1, len(places) + 1)
    return table


class TextNetwork(nn.Module):
    """Token ids, int64 [batch, length] padded with 0 → scores, float32 [batch, labels].

    The bag is the sum of the vectors of tokens and known phrases, divided by the root of their number, as a TF-IDF row
    has length one. The convolutions look for patterns over three and five tokens and keep the strongest of each.
    Padding changes nothing in either: a text gets the same answer alone and among longer ones.
    """

    def __init__(
        self,
        vocabulary: int,
        labels: int,
        table: np.ndarray,
        *,
        longest_phrase: int = 3,
        bag_width: int = 16,
        channels: int = 32,
        kernels: tuple[int, ...] = (3, 5),
        dropout: float = 0.5,
        token_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.longest_phrase = longest_phrase
        self.token_dropout = token_dropout
        self.register_buffer("table", torch.from_numpy(table), persistent=False)
        self.table: torch.Tensor
        self.tokens = nn.Embedding(vocabulary, bag_width, padding_idx=0)
        self.phrases = nn.Embedding(int(table.max()) + 1, bag_width, padding_idx=0)
        self.bag_out = nn.Linear(bag_width, labels)
        self.dropout = nn.Dropout(dropout)
        self.vectors = nn.Embedding(vocabulary, channels, padding_idx=0) if channels else None
        self.convolutions = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2) for kernel in kernels if channels
        )
        self.vector_dropout = nn.Dropout(0.2)
        self.conv_out = nn.Linear(channels * len(self.convolutions), labels) if channels else None
        # Small at first: a token of which little was learned says little.
        for embedding, scale in ((self.tokens, 1e-3), (self.phrases, 1e-3), (self.vectors, 0.1)):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=scale)
                with torch.no_grad():
                    embedding.weight[0] = 0
        nn.init.zeros_(self.bag_out.bias)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        scores = self._bag(self._drop_tokens(token_ids))
        if self.vectors is not None and self.conv_out is not None:
            tokens = self._drop_tokens(token_ids)
            present = (tokens > 0).unsqueeze(1)
            vectors = self.vector_dropout(self.vectors(tokens)).transpose(1, 2)
            peaks = [(functional.relu(convolution(vectors)) * present).amax(dim=2) for convolution in self.convolutions]
            scores = scores + self.conv_out(self.dropout(torch.cat(peaks, dim=1)))
        return scores

    def _bag(self, tokens: torch.Tensor) -> torch.Tensor:
        total = self.tokens(tokens).sum(dim=1)
        count = (tokens > 0).sum(dim=1)
        for hashes, whole in phrase_hashes(tokens, self.longest_phrase):
            numbers = self.table[torch.remainder(hashes, self.table.shape[0])].long() * whole
            total = total + self.phrases(numbers).sum(dim=1)
            count = count + (numbers > 0).sum(dim=1)
        mean = total * count.clamp(min=1).to(total.dtype).rsqrt().unsqueeze(1)
        scores: torch.Tensor = self.bag_out(self.dropout(mean))
        return scores

    def _drop_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        if not self.training or self.token_dropout == 0:
            return tokens
        return tokens * (torch.rand(tokens.shape, device=tokens.device) >= self.token_dropout)


class TextNetworks(nn.Module):
    """Several text networks that learn side by side, each from its own start, and answer with their mean probability.

    In training: scores [batch, labels, networks], each network to be judged on its own. Else scores [batch, labels].
    """

    def __init__(self, networks: list[TextNetwork], multi_label: bool = False) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.networks = nn.ModuleList(networks)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        scores = torch.stack([network(token_ids) for network in self.networks], dim=2)
        if self.training:
            return scores
        return scores_of(probabilities(scores, self.multi_label).mean(dim=2), self.multi_label)


class TextEnsemble(nn.Module):
    """The linear model and a network: their log probabilities (of several labels, log-odds) weighed and added up."""

    def __init__(self, linear: nn.Module, network: nn.Module, weights: list[float], multi_label: bool = False) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.linear, self.network = linear, network
        self.weights = weights

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores, float32 [batch, labels]."""
        if self.multi_label:
            both: torch.Tensor = self.weights[0] * self.linear(tokens) + self.weights[1] * self.network(tokens)
            return both
        linear = torch.log_softmax(self.linear(tokens), dim=1)
        return self.weights[0] * linear + self.weights[1] * torch.log_softmax(self.network(tokens), dim=1)
