"""Text classification: a tokenizer and a network, both trained on the data."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from workers.contracts.errors import JobError
from workers.engine.classification import TrainedClassifier, WithSoftmax, label_indices
from workers.engine.loop import Examples, Plan, fit
from workers.engine.run import Run, Trained
from workers.engine.text_networks import TextNetwork, suitable_dimensions
from workers.engine.tokenization import train_tokenizer
from workers.inference.runtime import clean_text, encode_texts, pad_ids
from workers.task_templates.text_classification import TextParams

_SPLITS: Final = ("train", "validation", "test")
_CHUNK: Final = 1024
# A token of a language with long words has six characters or so: nothing beyond is ever read.
_CHARS_PER_TOKEN: Final = 16


class TextExamples:
    """Token ids of the texts of one split."""

    def __init__(self, ids: list[list[int]], labels: Tensor, max_tokens: int) -> None:
        self.ids, self.labels = ids, labels
        self._lengths = np.array([len(one) for one in ids])
        self._max_tokens = max_tokens

    def batches(self, size: int, random: np.random.Generator) -> list[np.ndarray]:
        """Every text once, in random order, but texts of like length together: padding costs time."""
        order = random.permutation(len(self.ids))
        parts: list[np.ndarray] = []
        for start in range(0, len(order), 16 * size):
            pool = order[start : start + 16 * size]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            parts += [pool[i : i + size] for i in range(0, len(pool), size)]
        return [parts[index] for index in random.permutation(len(parts))]

    def inputs(self, indices: np.ndarray, *, training: bool) -> Tensor:
        """int64 [batch, length], padded as the served path pads."""
        return torch.from_numpy(pad_ids([self.ids[index] for index in indices], self._max_tokens))


class TrainedTexts(TrainedClassifier):
    """A trained text classifier."""

    def __init__(
        self,
        run: Run,
        network: TextNetwork,
        labels: list[str],
        splits: dict[str, Examples],
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(run, network, labels, splits)
        self._tokenizer = tokenizer
        self._params = cast(TextParams, run.params)

    def raw(self, split: str) -> Iterator[tuple[int, str]]:
        """The texts as they were imported."""
        for batch in self.run.batches(split, ["row", "text"]):
            yield from zip(batch["row"].to_pylist(), batch["text"].to_pylist(), strict=True)

    def shown(self, raw: Any) -> str:
        """The text."""
        return str(raw)

    def export(self, folder: Path) -> dict[str, Any]:
        """model.onnx: `token_ids` int64 [batch, length] → `scores`; tokenizer.json."""
        self._tokenizer.save(str(folder / "tokenizer.json"))
        network = copy.deepcopy(cast(TextNetwork, self.network)).cpu()
        network.bag.fold()
        example = torch.ones((2, 32), dtype=torch.int64)
        free = {0: "batch", 1: "length"}
        self.write_onnx(WithSoftmax(network), example, "token_ids", folder / "model.onnx", free)
        return {"max_chars": max_chars(self._params), "max_tokens": self._params.max_tokens}

    def reference_cases(self) -> list[Any]:
        """Three texts of the test split, spread over it."""
        split = "test" if "test" in self.splits else "train"
        step = max(1, len(self.splits[split].labels) // 3)
        return [raw for index, (_row, raw) in enumerate(self.raw(split)) if index % step == 0][:3]


def max_chars(params: TextParams) -> int:
    """Characters of a text that are looked at."""
    return params.max_tokens * _CHARS_PER_TOKEN


def train_text(run: Run) -> Trained:
    """Train the tokenizer, then the network. Raises JobError."""
    params = cast(TextParams, run.params)
    train = run.split("train", ["text", "label"])
    if not len(train):
        raise JobError("too_few_rows", evidence="There are no train rows.")
    labels = sorted(set(train["label"].to_pylist()))
    run.progress(0.0, "Learning the words")
    tokenizer = train_tokenizer(
        (clean_text(text, max_chars(params)) for chunk in train["text"].chunks for text in chunk.to_pylist()),
        vocabulary=params.vocabulary,
        lowercase=params.lowercase,
        max_tokens=params.max_tokens,
    )
    splits: dict[str, Examples] = {}
    for split in _SPLITS:
        table = run.split(split, ["text", "label"])
        if len(table):
            ids = list(_encoded(tokenizer, table["text"].to_pylist(), params))
            targets = label_indices(table["label"].to_pylist(), labels, split)
            splits[split] = TextExamples(ids, targets, params.max_tokens)
    counts = ", ".join(f"{len(examples.labels):,} {name}" for name, examples in splits.items())
    run.log(f"{counts} texts of {len(labels)} classes; {tokenizer.get_vocab_size():,} words and word parts.")
    learned = cast(TextExamples, splits["train"])
    torch.manual_seed(run.seed)
    network = TextNetwork(
        len(labels),
        tokenizer,
        _document_frequency(learned.ids, tokenizer.get_vocab_size()),
        len(learned.ids),
        dimensions=suitable_dimensions(len(learned.ids)),
        channels=128 if params.network == "bag-conv" else 0,
        dropout=params.dropout,
    )
    plan = Plan(
        epochs=params.epochs,
        batch_size=params.batch_size,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        label_smoothing=params.label_smoothing,
        class_weights=params.class_weights,
        patience=params.patience,
    )
    fit(run, network, learned, splits.get("validation"), plan)
    return TrainedTexts(run, network, labels, splits, tokenizer)


def _encoded(tokenizer: Tokenizer, texts: list[str], params: TextParams) -> Iterator[list[int]]:
    """Token ids of each text, as the served path makes them; an empty text is one unknown token."""
    for start in range(0, len(texts), _CHUNK):
        cut = [clean_text(text, max_chars(params)) for text in texts[start : start + _CHUNK]]
        yield from encode_texts(tokenizer, cut)


def _document_frequency(ids: list[list[int]], size: int) -> Tensor:
    """In how many texts each token occurs, float32 [tokens]."""
    counts = torch.zeros(size)
    for one in ids:
        counts[list(set(one))] += 1
    return counts
