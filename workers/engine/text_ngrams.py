"""The linear text model: logistic regression on TF-IDF of n-grams of tokens and of characters, whole in one graph.

From token ids the graph spells the text, hashes every n-gram, looks up which of the known ones it is, weighs them as
TF-IDF does and adds up their weights. Training counts with the very same code: the exported graph is the trained model.
"""

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

# The n-grams: runs of so many tokens, runs of so many characters (Joachims, 1998; Wang and Manning, 2012).
_TOKENS, _CHARACTERS = (1, 3), (2, 5)
_MODULUS = 2_147_483_629
_MULTIPLIER = 1_000_003
# Above all characters: no hash of tokens begins as one of characters does.
_TOKEN_SALT = 1_500_000_000
# Places of the lookup table per n-gram: of two n-grams that meet in one place the more frequent one is kept.
_PLACES_PER_NGRAM = 8


class Spelling(nn.Module):
    """Token ids, int64 [batch, tokens] → their characters, int64 [batch, characters], end to end, padded with 0."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        tokens = [tokenizer.id_to_token(number) or "" for number in range(tokenizer.get_vocab_size())]
        # The first two ids are no text: padding, and any unknown character.
        spelled = [[], [0xFFFD], *([ord(character) for character in token] for token in tokens[2:])]
        letters = np.zeros((len(spelled), max(map(len, spelled))), dtype=np.int32)
        for number, characters in enumerate(spelled):
            letters[number, : len(characters)] = characters
        self.register_buffer("letters", torch.from_numpy(letters), persistent=False)
        self.letters: torch.Tensor

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Each letter is put to its place; what is padding lands behind the end."""
        letters = self.letters[tokens].long()
        is_letter = letters > 0
        lengths = is_letter.sum(dim=2)
        ends = lengths.cumsum(dim=1)
        longest = ends[:, -1].max()
        places = (ends - lengths).unsqueeze(2) + torch.arange(self.letters.shape[1], device=tokens.device)
        places = torch.where(is_letter, places, longest).flatten(1)
        # As many zeros as the exported graph finds letters: torch.zeros would fix their number at export.
        empty = (torch.arange(longest + 1, device=tokens.device) * 0).expand(tokens.shape[0], -1)  # type: ignore[call-overload]
        spelled: torch.Tensor = empty.scatter(1, places, letters.flatten(1))[:, :-1]
        return spelled


def _hashes(units: torch.Tensor, salt: int, shortest: int, longest: int) -> tuple[list[torch.Tensor], ...]:
    """Of each number of units from `shortest` to `longest`: hashes of all runs, and the last unit, 0 in padding.

    units: int64 [batch, length]; results int64 [batch, length - n + 1]. Products stay below 2^62.
    """
    hashes, last = units + salt if salt else units, units
    found, ends = ([hashes], [last]) if shortest == 1 else ([], [])
    for n in range(2, longest + 1):
        last = units[:, n - 1 :]
        hashes = torch.remainder(hashes[:, :-1] * _MULTIPLIER + last, _MODULUS)
        if n >= shortest:
            found.append(hashes)
            ends.append(last)
    return found, ends


class Ngrams(nn.Module):
    """Token ids, int64 [batch, tokens] → numbers of the known n-grams in them, int64 [batch, n-grams]; 0 is none.

    Of tokens are those with numbers below `first_of_characters`. The table is one of hashes; `check` holds each known
    n-gram's whole hash, so that no unknown n-gram is taken for a known one.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.spelling = Spelling(tokenizer)
        self.register_buffer("table", torch.zeros(1, dtype=torch.int32), persistent=False)
        self.register_buffer("check", torch.zeros(1, dtype=torch.int32), persistent=False)
        self.table: torch.Tensor
        self.check: torch.Tensor
        self.first_of_characters = 1

    def __len__(self) -> int:
        """Known n-grams, and one for none."""
        return len(self.check)

    def of_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hashes, int64 [batch, n-grams], 0 in padding."""
        found, ends = _hashes(tokens, _TOKEN_SALT, *_TOKENS)
        return torch.cat(found, dim=1) * (torch.cat(ends, dim=1) > 0)

    def of_characters(self, tokens: torch.Tensor) -> torch.Tensor:
        """Hashes, int64 [batch, n-grams], 0 in padding."""
        found, ends = _hashes(self.spelling(tokens), 0, *_CHARACTERS)
        return torch.cat(found, dim=1) * (torch.cat(ends, dim=1) > 0)

    def know(self, of_tokens: np.ndarray, of_characters: np.ndarray) -> None:
        """Set which n-grams are known: their hashes, int64, the most important ones first."""
        count = len(of_tokens) + len(of_characters)
        size = 1 << max(10, int(np.ceil(np.log2(_PLACES_PER_NGRAM * max(1, count)))))
        table = np.zeros(size, dtype=np.int32)
        kept = [np.array([-1])]
        for hashes in (of_tokens, of_characters):
            free = hashes[table[hashes % size] == 0]
            places, first = np.unique(free % size, return_index=True)
            table[places] = sum(map(len, kept)) + np.arange(len(places))
            kept.append(free[first])
        self.first_of_characters = 1 + len(kept[1])
        self.table = torch.from_numpy(table)
        self.check = torch.from_numpy(np.concatenate(kept).astype(np.int32))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """See the class."""
        hashes = self.of_tokens(tokens)
        if self.first_of_characters < len(self):
            hashes = torch.cat([hashes, self.of_characters(tokens)], dim=1)
        numbers = self.table[torch.remainder(hashes, self.table.shape[0])].long()
        return numbers * (self.check[numbers] == hashes)


class LinearText(nn.Module):
    """Token ids, int64 [batch, tokens] padded with 0 → scores, float32 [batch, labels].

    A text is the row of its n-grams of tokens, as TF-IDF weighs them (each counted once), and beside it that of its
    n-grams of characters, both of length 1.
    """

    def __init__(self, ngrams: Ngrams, idf: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> None:
        """float32 idf [known], weights [known, labels], bias [labels]; idf of number 0 is 0."""
        super().__init__()
        self.ngrams = ngrams
        for name, value in (("idf", idf), ("weights", weights), ("bias", bias)):
            self.register_buffer(name, torch.from_numpy(value))
        self.idf: torch.Tensor
        self.weights: torch.Tensor
        self.bias: torch.Tensor

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores before softmax. Sorted, equal numbers stand together: the first of them counts, no matter how many."""
        numbers = torch.sort(self.ngrams(tokens), dim=1, descending=True).values
        known = (numbers > 0).sum(dim=1).max().clamp(min=1)
        # Behind the known ones stand only zeros.
        numbers = numbers.index_select(1, torch.arange(known, device=tokens.device))  # type: ignore[call-overload]
        is_first = functional.pad(numbers[:, 1:] != numbers[:, :-1], (1, 0), value=True)
        idf = self.idf[numbers] * is_first
        square = idf * idf
        is_character = numbers >= self.ngrams.first_of_characters
        of_characters = (square * is_character).sum(dim=1, keepdim=True)
        of_tokens = (square * ~is_character).sum(dim=1, keepdim=True)
        length = torch.where(is_character, of_characters, of_tokens).clamp(min=1e-12).sqrt()
        values = idf / length
        if torch.onnx.is_in_onnx_export():
            scores: torch.Tensor = torch.matmul(values.unsqueeze(1), self.weights[numbers]).squeeze(1)
        else:
            scores = functional.embedding_bag(numbers, self.weights, per_sample_weights=values, mode="sum")
        return scores + self.bias
