"""Networks for texts: a bag of words, word parts and phrases, and the same with convolutions beside it."""

import hashlib
import math
from typing import Final

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

# A token's spelling: its character n-grams, hashed, as in fastText (Bojanowski et al. 2017).
_SPELLING: Final = range(2, 6)
_MOST_PARTS: Final = 24
_PHRASE_BUCKETS: Final = 2**16
_SPELLING_BUCKETS: Final = 2**15
# Multipliers of the phrase hash, computed in int64 within the graph.
_FACTOR, _ADD, _PRIME = 1_000_003, 7_919, 2_147_483_629


class Bag(nn.Module):
    """int64 token ids [batch, length], 0 is padding → document vectors [batch, dimensions].

    The weighted mean of token vectors (own vector plus the mean of its spelling's) and vectors of hashed token pairs.
    Token weights are learned, and start at the inverse document frequency.
    """

    parts: Tensor
    parts_scale: Tensor
    folded: Tensor | None

    def __init__(self, tokenizer: Tokenizer, frequency: Tensor, documents: int, dimensions: int) -> None:
        super().__init__()
        size = tokenizer.get_vocab_size()
        self.own = nn.Embedding(size, dimensions, padding_idx=0)
        self.phrases = nn.Embedding(_PHRASE_BUCKETS, dimensions, padding_idx=0)
        self.spelling = nn.Embedding(_SPELLING_BUCKETS, dimensions, padding_idx=0)
        for table in (self.own, self.phrases, self.spelling):
            nn.init.normal_(table.weight, std=0.05)
            with torch.no_grad():
                table.weight[0] = 0
        parts = spelling_parts(tokenizer)
        self.register_buffer("parts", parts)
        self.register_buffer("parts_scale", (parts > 0).sum(dim=1, keepdim=True).clamp(min=1).float().rsqrt())
        rarity = torch.log((1 + documents) / (1 + frequency)) + 1
        self.register_buffer("folded", None)
        self.log_weight = nn.Parameter((rarity / rarity.mean()).log())

    def fold(self) -> None:
        """Put every token's vector, spelling included, into one table: the same vectors, read in one step."""
        with torch.no_grad():
            every = torch.arange(len(self.parts))
            self.folded = self._spelled(every)

    def vectors(self, ids: Tensor) -> Tensor:
        """Token vectors [batch, length, dimensions]."""
        if self.folded is not None:
            return functional.embedding(ids, self.folded)
        # The spelling is summed once per token that occurs, not once per occurrence.
        used, places = torch.unique(ids, return_inverse=True)
        return functional.embedding(places, self._spelled(used))

    def _spelled(self, tokens: Tensor) -> Tensor:
        spelling = self.spelling(self.parts[tokens]).sum(dim=1) * self.parts_scale[tokens]
        whole: Tensor = self.own(tokens) + spelling
        return whole

    def forward(self, ids: Tensor) -> Tensor:
        known = (ids > 0).float()
        weight = functional.embedding(ids, self.log_weight.unsqueeze(1)).squeeze(2).exp() * known
        total = (self.vectors(ids) * weight.unsqueeze(2)).sum(dim=1)
        squares = (weight * weight).sum(dim=1)
        first, second = ids[:, :-1], ids[:, 1:]
        both = (first > 0).float() * (second > 0).float()
        pair_weight = (weight[:, :-1] * weight[:, 1:]).clamp(min=1e-12).sqrt() * both
        total = total + (self.phrases(pairs(first, second)) * pair_weight.unsqueeze(2)).sum(dim=1)
        squares = squares + (pair_weight * pair_weight).sum(dim=1)
        mean: Tensor = total / squares.clamp(min=1e-6).sqrt().unsqueeze(1)
        return mean


def pairs(first: Tensor, second: Tensor) -> Tensor:
    """Buckets of token pairs, int64 in [1, buckets)."""
    mixed = torch.remainder(first * _FACTOR + second * _ADD, _PRIME)
    return 1 + torch.remainder(mixed, _PHRASE_BUCKETS - 1)


class TextNetwork(nn.Module):
    """Token ids → scores [batch, classes]: a bag and, where `channels` is given, convolutions over 1 to 5 tokens."""

    def __init__(
        self,
        classes: int,
        tokenizer: Tokenizer,
        frequency: Tensor,
        documents: int,
        *,
        dimensions: int,
        channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.bag = Bag(tokenizer, frequency, documents, dimensions)
        self.dropout = nn.Dropout(dropout)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(dimensions, channels, width, padding=width // 2) for width in (3, 5) if channels
        )
        self.head = nn.Linear(dimensions + channels * len(self.convolutions), classes)
        nn.init.zeros_(self.head.bias)
        self.scale = nn.Parameter(torch.tensor(4.0))

    def forward(self, ids: Tensor) -> Tensor:
        if self.training:
            # Words that are missing now and then keep any single one from deciding alone.
            ids = ids * (torch.rand(ids.shape, device=ids.device) >= 0.1)
        parts = [self.bag(ids)]
        if len(self.convolutions):
            known = (ids > 0).float().unsqueeze(1)
            words = self.bag.vectors(ids).transpose(1, 2) * known
            # The largest response over the text; padding answers nothing.
            parts += [(functional.relu(conv(words)) * known).amax(dim=2) for conv in self.convolutions]
        scores: Tensor = self.head(self.dropout(torch.cat(parts, dim=1))) * self.scale
        return scores


def spelling_parts(tokenizer: Tokenizer) -> Tensor:
    """Buckets of each token's character n-grams, int64 [tokens, 24], filled up with 0."""
    parts = torch.zeros((tokenizer.get_vocab_size(), _MOST_PARTS), dtype=torch.int64)
    for token, number in tokenizer.get_vocab().items():
        if number < 2:
            continue
        grams = [token[i : i + n] for n in _SPELLING for i in range(len(token) - n + 1) if n < len(token)]
        for place, gram in enumerate(grams[:_MOST_PARTS]):
            digest = hashlib.blake2b(gram.encode("utf-8"), digest_size=6).digest()
            parts[number, place] = 1 + int.from_bytes(digest, "little") % (_SPELLING_BUCKETS - 1)
    return parts


def suitable_dimensions(examples: int) -> int:
    """Few examples carry few dimensions: 32 up to a thousand, 64 from there."""
    return 32 if math.log10(max(examples, 1)) < 3 else 64
