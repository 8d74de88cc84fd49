"""The linear text model: logistic regression on TF-IDF of n-grams of tokens and of characters, whole in one graph.

From token ids the graph spells the text, hashes every n-gram, looks up which of the known ones it is, weighs them as
TF-IDF does and adds up one vector of scores each. Training counts with the very same code, so the exported graph is
the trained model.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import scipy.sparse
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from workers.engine.logistic import Logistic, log_probabilities, weigh
from workers.engine.run import Run

_MODULUS = 2_147_483_629
_MULTIPLIER = 1_000_003
# Octaves of a count: the 2nd, 4th, 8th and 16th occurrence of an n-gram in a text each add ln 2 to its weight of 1.
_OCTAVES = (2, 4, 8, 16)
_OCTAVE = float(np.log(2))
# Places of a lookup table per n-gram: what is left of two n-grams that meet in one place is the more frequent.
_PLACES_PER_NGRAM = 8
# Known n-grams of each kind; weights are one number per n-gram and label.
_MOST_NGRAMS, _FEWEST_NGRAMS, _MOST_WEIGHTS = 200_000, 20_000, 5_000_000
# What the solver holds in memory: about 15 n-grams per token, 16 bytes each.
_MOST_TOKENS = 4_000_000
_BATCH = 256
# Multiplications in all iterations together, and the iterations for each strength.
_MOST_WORK, _MOST_ITERATIONS, _FEWEST_ITERATIONS = 8e9, 50, 12
# This part of the whole job.
LINEAR_START, LINEAR_END = 0.02, 0.05


class Texts(Protocol):
    """Texts as token ids: int64 labels [rows], -1 unknown; the number of all tokens."""

    labels: np.ndarray
    tokens: int

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """int64 [rows, tokens], padded with 0."""
        ...


def ngram_hashes(units: torch.Tensor, shortest: int, longest: int) -> torch.Tensor:
    """Hashes of all runs of `shortest` … `longest` units: int64 [batch, n-grams], 0 where a run is not whole.

    units: int64 [batch, length], padded with 0. Products stay below 2^62.
    """
    hashes, found = units, [units] if shortest == 1 else []
    for n in range(2, longest + 1):
        last = units[:, n - 1 :]
        hashes = torch.remainder(hashes[:, :-1] * _MULTIPLIER + last * (7919 + 2 * n) + 1, _MODULUS)
        if n >= shortest:
            found.append(hashes * (last > 0))
    return torch.cat(found, dim=1)


class Spelling(nn.Module):
    """Token ids, int64 [batch, tokens] → their characters, int64 [batch, characters], end to end, padded with 0."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        tokens = [tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())]
        # The first two ids are no text: padding, and any unknown character.
        spelled = [[], [0xFFFD], *([ord(character) for character in token] for token in tokens[2:])]
        letters = torch.zeros((len(spelled), max(map(len, spelled))), dtype=torch.int64)
        for number, characters in enumerate(spelled):
            letters[number, : len(characters)] = torch.tensor(characters, dtype=torch.int64)
        self.register_buffer("letters", letters.int(), persistent=False)
        self.letters: torch.Tensor

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Each letter is put to its place; what is padding lands behind the end."""
        letters = self.letters[tokens].long()
        lengths = (letters > 0).sum(dim=2)
        ends = lengths.cumsum(dim=1)
        longest = ends[:, -1].max()
        places = (ends - lengths).unsqueeze(2) + torch.arange(self.letters.shape[1], device=tokens.device)
        places = torch.where(letters > 0, places, longest).flatten(1)
        empty = (torch.arange(longest + 1, device=tokens.device) * 0).expand(tokens.shape[0], -1)
        return empty.scatter(1, places, letters.flatten(1))[:, :-1]


class Ngrams(nn.Module):
    """Units, int64 [batch, length] → numbers of the known n-grams in them, int64 [batch, n-grams]; 0 is none.

    Known are those that `learn` kept. The table is one of hashes; `check` holds each n-gram's whole hash, so unknown
    n-grams are not taken for known ones.
    """

    def __init__(self, shortest: int, longest: int) -> None:
        super().__init__()
        self.shortest, self.longest = shortest, longest
        self.register_buffer("table", torch.zeros(2, dtype=torch.int32), persistent=False)
        self.register_buffer("check", torch.zeros(1, dtype=torch.int32), persistent=False)
        self.table: torch.Tensor
        self.check: torch.Tensor

    def learn(self, batches: Iterable[torch.Tensor], most: int) -> None:
        """Keep the `most` n-grams that occur in most texts; those of one text only where there are few."""
        hashes, texts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        waiting: list[np.ndarray] = []

        def merge() -> tuple[np.ndarray, np.ndarray]:
            every = np.concatenate([hashes, *waiting])
            counts = np.concatenate([texts, np.ones(len(every) - len(hashes), dtype=np.int64)])
            found, inverse = np.unique(every, return_inverse=True)
            return found, np.bincount(inverse, weights=counts).astype(np.int64)

        for units in batches:
            ordered = torch.sort(ngram_hashes(units, self.shortest, self.longest), dim=1).values.numpy()
            first = ordered > 0
            first[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
            waiting.append(ordered[first])
            if sum(map(len, waiting)) > 8_000_000:
                hashes, texts = merge()
                waiting = []
                # Of very many, those seen once so far are given up: memory stays bounded.
                if len(hashes) > 8_000_000:
                    hashes, texts = hashes[texts > 1], texts[texts > 1]
        hashes, texts = merge()
        if len(hashes) > most:
            hashes, texts = hashes[texts > 1], texts[texts > 1]
        order = np.argsort(-texts, kind="stable")[:most]
        size = 1 << max(10, int(np.ceil(np.log2(_PLACES_PER_NGRAM * max(1, len(order))))))
        places, first_at = np.unique(hashes[order] % size, return_index=True)
        kept = hashes[order[first_at]]
        table = np.zeros(size, dtype=np.int32)
        table[places] = np.arange(1, len(kept) + 1)
        self.table = torch.from_numpy(table)
        self.check = torch.from_numpy(np.concatenate([[-1], kept]).astype(np.int32))

    def __len__(self) -> int:
        """Known n-grams, and one for none."""
        return len(self.check)

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        """See the class."""
        hashes = ngram_hashes(units, self.shortest, self.longest)
        numbers = self.table[torch.remainder(hashes, self.table.shape[0])].long()
        return numbers * (self.check[numbers] == hashes)


def octaves(counts: np.ndarray) -> np.ndarray:
    """float32: the weight of n-grams that occur `counts` times in a text, about 1 + ln(count)."""
    weights = np.ones(len(counts), dtype=np.float32)
    for octave in _OCTAVES:
        weights += np.float32(_OCTAVE) * (counts >= octave)
    return weights


class TfIdfScores(nn.Module):
    """Numbers of n-grams, int64 [batch, n-grams] → scores, float32 [batch, labels]: TF-IDF rows of length 1, weighted.

    `idf`: float32 [known], 0 for number 0. `weights`: float32 [known, labels].
    """

    def __init__(self, idf: np.ndarray, labels: int) -> None:
        super().__init__()
        self.register_buffer("idf", torch.from_numpy(idf))
        self.register_buffer("weights", torch.zeros((len(idf), labels)))
        self.idf: torch.Tensor
        self.weights: torch.Tensor

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Sorted, equal numbers stand together: the 1st, 2nd, 4th, … of them carries its share of the weight."""
        numbers = torch.sort(numbers, dim=1, descending=True).values
        known = int((numbers > 0).sum(dim=1).max()) if not torch.onnx.is_in_onnx_export() else numbers.shape[1]
        numbers = numbers[:, : max(1, known)]
        weight = _is_nth(numbers, 1)
        square = weight
        total = 1.0
        for octave in _OCTAVES:
            here = _is_nth(numbers, octave)
            weight = weight + here * _OCTAVE
            square = square + here * ((total + _OCTAVE) ** 2 - total**2)
            total += _OCTAVE
        idf = self.idf[numbers]
        norm = (square * idf * idf).sum(dim=1, keepdim=True).clamp(min=1e-12).rsqrt()
        values = weight * idf * norm
        if torch.onnx.is_in_onnx_export():
            return torch.matmul(values.unsqueeze(1), self.weights[numbers]).squeeze(1)
        return functional.embedding_bag(numbers, self.weights, per_sample_weights=values, mode="sum")


def _is_nth(numbers: torch.Tensor, n: int) -> torch.Tensor:
    """float32 [batch, n-grams]: 1 where a number is the n-th in a row of equal ones. Numbers are sorted, descending."""
    before = functional.pad(numbers, (n, 0), value=-1)
    length = numbers.shape[1]
    found = before[:, :length] != numbers
    if n > 1:
        found = found & (before[:, 1 : length + 1] == numbers)
    return found.float()


class LinearText(nn.Module):
    """Token ids, int64 [batch, tokens] padded with 0 → scores, float32 [batch, labels]."""

    def __init__(self, spelling: Spelling, words: Ngrams, characters: Ngrams, idf: list[np.ndarray], labels: int):
        super().__init__()
        self.spelling, self.words, self.characters = spelling, words, characters
        self.word_scores = TfIdfScores(idf[0], labels)
        self.character_scores = TfIdfScores(idf[1], labels)
        self.register_buffer("bias", torch.zeros(labels))
        self.bias: torch.Tensor

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        words = self.word_scores(self.words(tokens))
        return words + self.character_scores(self.characters(self.spelling(tokens))) + self.bias


def count_ngrams(batches: Iterable[torch.Tensor], known: int) -> scipy.sparse.csr_matrix:
    """Numbers of n-grams, int64 [batch, n-grams] each → float32 CSR [texts, known] of their octaves."""
    lengths, columns, values = [0], [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.float32)]
    for batch in batches:
        numbers = batch.numpy()
        keys = (np.arange(len(numbers), dtype=np.int64)[:, None] * known + numbers)[numbers > 0]
        found, counts = np.unique(keys, return_counts=True)
        lengths.extend(np.bincount(found // known, minlength=len(numbers)).tolist())
        columns.append((found % known).astype(np.int32))
        values.append(octaves(counts))
    starts = np.cumsum(lengths)
    data = (np.concatenate(values), np.concatenate(columns), starts)
    return scipy.sparse.csr_matrix(data, shape=(len(starts) - 1, known))


def inverse_frequencies(counts: scipy.sparse.csr_matrix) -> np.ndarray:
    """float32 [known]: ln((1 + texts) / (1 + texts with the n-gram)) + 1; 0 for number 0."""
    texts = np.bincount(counts.indices, minlength=counts.shape[1])
    idf: np.ndarray = (np.log((1 + counts.shape[0]) / (1 + texts)) + 1).astype(np.float32)
    idf[0] = 0
    return idf


def unit_rows(counts: scipy.sparse.csr_matrix, idf: np.ndarray) -> scipy.sparse.csr_matrix:
    """TF-IDF rows of length 1."""
    counts.data *= idf[counts.indices]
    squares = np.asarray(counts.multiply(counts).sum(axis=1)).ravel()
    counts.data /= np.repeat(np.sqrt(np.maximum(squares, 1e-12)), np.diff(counts.indptr)).astype(np.float32)
    return counts


class LinearTrainer:
    """Learns a LinearText from (some of) the training rows. The same rows give the same model: nothing is random."""

    def __init__(self, run: Run, tokenizer: Tokenizer, labels: int) -> None:
        self._run = run
        self._labels = labels
        self._most = max(_FEWEST_NGRAMS, min(_MOST_NGRAMS, _MOST_WEIGHTS // labels))
        self._spelling = Spelling(tokenizer)
        self._words, self._characters = Ngrams(1, 3), Ngrams(2, 5)
        self._spoken = 0.0

    def train(self, train: Texts, validation: Texts, importance: np.ndarray, strengths: tuple[float, ...]) -> LinearText:
        """`importance`: float32 [labels], of the labels' rows. Of `strengths` (inverse regularisation, weakest first) the
        best on the validation rows is taken, or, without such rows, the middle one."""
        rows = self._rows_to_learn_from(train)
        self._words.learn(self._batches(train, rows, 0.0, 0.08), self._most)
        self._characters.learn(map(self._spelling, self._batches(train, rows, 0.08, 0.25)), self._most)
        counts = self._counts(train, rows, 0.25, 0.5)
        idf = [inverse_frequencies(part) for part in counts]
        matrix = scipy.sparse.hstack([unit_rows(*pair) for pair in zip(counts, idf, strict=True)], format="csr")
        del counts
        truth = train.labels[rows]
        problem = Logistic(matrix, truth, importance[truth], self._labels)
        known = np.flatnonzero(validation.labels >= 0)
        judged = None
        if len(known):
            counts = self._counts(validation, known, 0.5, 0.55)
            judged = scipy.sparse.hstack([unit_rows(*pair) for pair in zip(counts, idf, strict=True)], format="csr")
        weights, bias = self._solve(problem, judged, validation.labels[known], strengths)
        model = LinearText(self._spelling, self._words, self._characters, idf, self._labels)
        model.word_scores.weights, model.character_scores.weights = (
            torch.from_numpy(part.copy()) for part in np.split(weights, [len(self._words)])
        )
        model.bias = torch.from_numpy(bias)
        return model.eval()

    def _solve(
        self,
        problem: Logistic,
        judged: scipy.sparse.csr_matrix | None,
        truth: np.ndarray,
        strengths: tuple[float, ...],
    ) -> tuple[np.ndarray, np.ndarray]:
        work = problem.rows.nnz * (self._labels + 4)
        iterations = int(min(_MOST_ITERATIONS, max(_FEWEST_ITERATIONS, _MOST_WORK / len(strengths) / work)))
        done = 0

        def tell() -> None:
            nonlocal done
            done += 1
            self._say(0.55 + 0.45 * min(1.0, done / (iterations * len(strengths))))

        if judged is None:
            return problem.solve(strengths[len(strengths) // 2], iterations, tell)
        best, lowest = (np.zeros(0), np.zeros(0)), np.inf
        for strength in strengths:
            weights, bias = problem.solve(strength, iterations, tell)
            scores = log_probabilities(judged @ weights + bias)
            (share,) = weigh([scores], truth, [1.0])
            loss = float(-log_probabilities(share * scores)[np.arange(len(truth)), truth].mean())
            right = float((scores.argmax(axis=1) == truth).mean())
            self._run.log(f"N-grams, strength {strength:g}: {right:.1%} of the validation rows are right.")
            if loss < lowest:
                best, lowest = (weights, bias), loss
                self._run.choose(ngram_strength=strength)
        return best

    def _rows_to_learn_from(self, train: Texts) -> np.ndarray:
        """All rows, or as many by chance as fit into memory."""
        rows = np.arange(len(train))
        if train.tokens <= _MOST_TOKENS:
            return rows
        kept = np.sort(np.random.default_rng(self._run.seed).permutation(rows)[: len(rows) * _MOST_TOKENS // train.tokens])
        self._run.log(f"N-grams are learned from {len(kept):,} of {len(rows):,} texts, by chance: all would take too much.")
        return kept

    def _counts(self, texts: Texts, rows: np.ndarray, low: float, high: float) -> list[scipy.sparse.csr_matrix]:
        middle = low + 0.2 * (high - low)
        words = count_ngrams(map(self._words, self._batches(texts, rows, low, middle)), len(self._words))
        spelled = map(self._spelling, self._batches(texts, rows, middle, high))
        return [words, count_ngrams(map(self._characters, spelled), len(self._characters))]

    def _batches(self, texts: Texts, rows: np.ndarray, low: float, high: float) -> Iterator[torch.Tensor]:
        for start in range(0, len(rows), _BATCH):
            yield texts.batch(rows[start : start + _BATCH])
            self._say(low + (high - low) * start / len(rows))

    def _say(self, share: float) -> None:
        """Progress, twice a second at most."""
        now = time.monotonic()
        if now - self._spoken >= 0.5:
            self._spoken = now
            self._run.progress(LINEAR_START + (LINEAR_END - LINEAR_START) * share, "Learning n-grams")


class TextEnsemble(nn.Module):
    """The linear model and a network: their log probabilities, each with its weight, added up."""

    def __init__(self, linear: LinearText, network: nn.Module, weights: list[float]) -> None:
        super().__init__()
        self.linear, self.network = linear, network
        self.weights = weights

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores before softmax, float32 [batch, labels]."""
        linear = torch.log_softmax(self.linear(tokens), dim=1)
        return self.weights[0] * linear + self.weights[1] * torch.log_softmax(self.network(tokens), dim=1)
