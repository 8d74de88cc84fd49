"""Training of the linear text model: which n-grams are known, their weights, how strongly these are held back."""

import time
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import scipy.sparse
import torch
from tokenizers import Tokenizer

from workers.engine.examples import known_rows
from workers.engine.logistic import Logistic, losses_of, probabilities_of, weigh
from workers.engine.run import Run
from workers.engine.several_labels import said_of
from workers.engine.text_ngrams import LinearText, Ngrams

# Known n-grams of each kind; weights are one number per n-gram and label.
_MOST_NGRAMS, _FEWEST_NGRAMS, _MOST_WEIGHTS = 200_000, 20_000, 5_000_000
# What the solver holds in memory: about 15 n-grams per token, 16 bytes each.
_MOST_TOKENS = 4_000_000
_MOST_WAITING = 8_000_000
_BATCH = 256
# Texts that are answered at once.
_MOST_HELD = 20_000
# Multiplications in all iterations together, and the iterations for each strength.
_MOST_WORK, _MOST_ITERATIONS, _FEWEST_ITERATIONS = 8e9, 50, 12
# Inverse regularisation.
_STRENGTHS, _USUAL_STRENGTH = (5.0, 15.0, 45.0), 15.0
# For models that are to see through wrong labels; more iterations find no more of these.
_CROSS_STRENGTH, _CROSS_ITERATIONS = 5.0, 30
# This part of the whole job.
LINEAR_START, LINEAR_END = 0.02, 0.05


class Texts(Protocol):
    """Texts as token ids: labels as in Examples; the number of all tokens."""

    labels: np.ndarray
    tokens: int

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """int64 [rows, tokens], padded with 0."""
        ...


def find_ngrams(batches: Iterable[torch.Tensor], known: int) -> scipy.sparse.csr_matrix:
    """Numbers of n-grams, int64 [batch, n-grams] each → float32 CSR [texts, known] of ones."""
    lengths, columns = [0], [np.zeros(0, dtype=np.int32)]
    for batch in batches:
        numbers = batch.numpy()
        keys = (np.arange(len(numbers), dtype=np.int64)[:, None] * known + numbers)[numbers > 0]
        found = np.unique(keys)
        lengths.extend(np.bincount(found // known, minlength=len(numbers)).tolist())
        columns.append((found % known).astype(np.int32))
    starts, places = np.cumsum(lengths), np.concatenate(columns)
    ones = np.ones(len(places), dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, places, starts), shape=(len(starts) - 1, known))


def inverse_frequencies(found: scipy.sparse.csr_matrix) -> np.ndarray:
    """float32 [known]: ln((1 + texts) / (1 + texts with the n-gram)) + 1; 0 for number 0."""
    texts = np.bincount(found.indices, minlength=found.shape[1])
    idf: np.ndarray = (np.log((1 + found.shape[0]) / (1 + texts)) + 1).astype(np.float32)
    idf[0] = 0
    return idf


def tf_idf(found: scipy.sparse.csr_matrix, idf: np.ndarray, first_of_characters: int) -> scipy.sparse.csr_matrix:
    """TF-IDF rows, in place: their part of tokens has length 1, that of characters too."""
    found.data *= idf[found.indices]
    part = 2 * np.repeat(np.arange(found.shape[0]), np.diff(found.indptr)) + (found.indices >= first_of_characters)
    squares = np.bincount(part, weights=found.data**2, minlength=2 * found.shape[0])
    found.data /= np.sqrt(np.maximum(squares, 1e-12)).astype(np.float32)[part]
    return found


def frequent(batches: Iterable[torch.Tensor], most: int, least: int = 1) -> np.ndarray:
    """Of hashes of n-grams, int64 [batch, n-grams] each, those of the n-grams in most texts, in this order.

    `least`: in so many texts at least. N-grams of one text only are kept where there are few. Of very many, those seen
    once are given up on the way.
    """
    hashes, texts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    waiting: list[np.ndarray] = []

    def merged() -> tuple[np.ndarray, np.ndarray]:
        every = np.concatenate([hashes, *waiting])
        counts = np.concatenate([texts, np.ones(len(every) - len(hashes), dtype=np.int64)])
        found, place = np.unique(every, return_inverse=True)
        return found, np.bincount(place, weights=counts).astype(np.int64)

    for batch in batches:
        ordered = np.sort(batch.numpy(), axis=1)
        is_first = ordered > 0
        is_first[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
        waiting.append(ordered[is_first])
        if sum(map(len, waiting)) > _MOST_WAITING:
            (hashes, texts), waiting = merged(), []
            if len(hashes) > _MOST_WAITING:
                hashes, texts = hashes[texts > 1], texts[texts > 1]
    hashes, texts = merged()
    least = max(least, 2 if len(hashes) > most else 1)
    hashes, texts = hashes[texts >= least], texts[texts >= least]
    return hashes[np.argsort(-texts, kind="stable")[:most]]


class LinearTrainer:
    """Learns a LinearText from (some of) the training rows. The same rows give the same model: nothing is random."""

    def __init__(
        self, run: Run, tokenizer: Tokenizer, labels: int, start: float = LINEAR_START, end: float = LINEAR_END
    ) -> None:
        """From `start` to `end` of the run's progress."""
        self._run = run
        self._start, self._end = start, end
        self._labels = labels
        self._ngrams = Ngrams(tokenizer)
        self._spoken = 0.0

    def train(
        self, train: Texts, validation: Texts, importance: np.ndarray, strength: float | None = None
    ) -> LinearText:
        """`importance`: float32 [labels], of the labels' rows. The best of _STRENGTHS is taken; without validation rows
        it is `strength`, or the usual one."""
        rows, matrix, idf = self._learn_ngrams(train)
        truth = train.labels[rows]
        problem = Logistic(matrix, truth, importance if truth.ndim == 2 else importance[truth], self._labels)
        known = known_rows(validation.labels)
        judged = None
        if len(known):
            found = self._find(validation, known, 0.5, 0.55)
            judged = tf_idf(found, idf, self._ngrams.first_of_characters)
        weights, bias = self._solve(problem, judged, validation.labels[known], strength)
        return LinearText(self._ngrams, idf, weights, bias).eval()

    def cross_fit(self, texts: Texts, dealt: np.ndarray, characters: bool) -> np.ndarray:
        """Probabilities, float32 [texts, labels], each text's by a model that learned from the other folds alone.

        `dealt`: int64 [texts], the folds; `characters`: whether n-grams of characters count, too. Which n-grams are
        known, and in how many texts they are, comes from all texts: that is no matter of labels.
        """
        # What is in one text alone can tell nothing of another.
        rows, matrix, idf = self._learn_ngrams(texts, characters, least=2)
        folds = int(dealt.max()) + 1
        iterations = min(_CROSS_ITERATIONS, self._iterations(matrix.nnz, folds))
        answers = np.zeros((len(texts), self._labels), dtype=np.float32)
        for fold in range(folds):
            learned = np.flatnonzero(dealt[rows] != fold)
            truth = texts.labels[rows[learned]]
            ones = np.ones(self._labels if truth.ndim == 2 else len(truth), np.float32)
            problem = Logistic(matrix[learned], truth, ones, self._labels)
            weights, bias = problem.solve(_CROSS_STRENGTH, iterations, lambda: None)
            held = np.flatnonzero(dealt == fold)
            for start in range(0, len(held), _MOST_HELD):
                part = held[start : start + _MOST_HELD]
                # Texts that were learned from are at hand; of very many texts not all were.
                if len(rows) == len(texts):
                    found = matrix[part]
                else:
                    found = tf_idf(self._find(texts, part, 0.0, 0.0), idf, self._ngrams.first_of_characters)
                answers[part] = probabilities_of(found @ weights + bias, texts.labels.ndim == 2)
        return answers

    def _learn_ngrams(
        self, train: Texts, characters: bool = True, least: int = 1
    ) -> tuple[np.ndarray, scipy.sparse.csr_matrix, np.ndarray]:
        """Which n-grams are known from now on: those in so many texts at `least`, of tokens and of `characters`.

        Returns the rows to learn from, these as TF-IDF, and the n-grams' idf.
        """
        rows = self._rows_to_learn_from(train)
        most = max(_FEWEST_NGRAMS, min(_MOST_NGRAMS, _MOST_WEIGHTS // self._labels))
        of_tokens = frequent(map(self._ngrams.of_tokens, self._batches(train, rows, 0.0, 0.05)), most, least)
        of_characters = np.zeros(0, dtype=np.int64)
        if characters:
            batches = self._batches(train, rows, 0.05, 0.25)
            of_characters = frequent(map(self._ngrams.of_characters, batches), most, least)
        self._ngrams.know(of_tokens, of_characters)

        found = self._find(train, rows, 0.25, 0.5)
        idf = inverse_frequencies(found)
        matrix = tf_idf(found, idf, self._ngrams.first_of_characters)
        return rows, matrix, idf

    def _iterations(self, entries: int, problems: int) -> int:
        """Of each of so many problems whose matrix has so many entries."""
        work = entries * (self._labels + 4)
        return int(min(_MOST_ITERATIONS, max(_FEWEST_ITERATIONS, _MOST_WORK / problems / work)))

    def _solve(
        self,
        problem: Logistic,
        judged: scipy.sparse.csr_matrix | None,
        truth: np.ndarray,
        strength: float | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        iterations = self._iterations(problem.rows.nnz, len(_STRENGTHS))
        done = 0

        def tell() -> None:
            nonlocal done
            done += 1
            self._say(0.55 + 0.45 * min(1.0, done / (iterations * len(_STRENGTHS))))

        if judged is None:
            return problem.solve(strength or _USUAL_STRENGTH, iterations, tell)
        best, lowest = (np.zeros(0), np.zeros(0)), np.inf
        for strength in _STRENGTHS:
            weights, bias = problem.solve(strength, iterations, tell)
            scores = judged @ weights + bias
            (share,) = weigh([scores], truth, [1.0])
            loss = float(losses_of(share * scores, truth).mean())
            self._run.log(f"N-grams, strength {strength:g}: {said_of(truth, scores)} on the validation rows.")
            if loss < lowest:
                best, lowest = (weights, bias), loss
                self._run.choose(ngram_strength=strength)
        return best

    def _rows_to_learn_from(self, train: Texts) -> np.ndarray:
        """All rows, or as many by chance as fit into memory."""
        rows = np.arange(len(train))
        if train.tokens <= _MOST_TOKENS:
            return rows
        kept = np.sort(
            np.random.default_rng(self._run.seed).permutation(rows)[: len(rows) * _MOST_TOKENS // train.tokens]
        )
        self._run.log(
            f"N-grams are learned from {len(kept):,} of {len(rows):,} texts, by chance: all would take too much."
        )
        return kept

    def _find(self, texts: Texts, rows: np.ndarray, low: float, high: float) -> scipy.sparse.csr_matrix:
        return find_ngrams(map(self._ngrams, self._batches(texts, rows, low, high)), len(self._ngrams))

    def _batches(self, texts: Texts, rows: np.ndarray, low: float, high: float) -> Iterator[torch.Tensor]:
        for start in range(0, len(rows), _BATCH):
            yield texts.batch(rows[start : start + _BATCH])
            self._say(low + (high - low) * start / len(rows))

    def _say(self, share: float) -> None:
        """Progress, twice a second at most."""
        now = time.monotonic()
        if now - self._spoken >= 0.5:
            self._spoken = now
            self._run.progress(self._start + (self._end - self._start) * share, "Learning n-grams")
