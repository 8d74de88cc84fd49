"""Text → label."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.inference.core import Bundle, InputError, LabelPredictor


class TextLabels(LabelPredictor):
    """Text → label. An item is a text, cut to the manifest's `max_chars`."""

    input_name = "token_ids"
    inputs_help = "texts"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        settings = bundle.manifest["preprocessing"]
        self._max_chars: int = settings["max_chars"]
        self._readers = [TokenReader.open(bundle.folder, own) for own in settings.get("tokenizers", [settings])]

    def prepare(self, raw: Any, index: int = 0) -> str:
        """The text itself, or {"text": ...}."""
        if isinstance(raw, dict) and set(raw) == {"text"}:
            raw = raw["text"]
        if not isinstance(raw, str):
            raise InputError(index, "A text is expected, as a JSON string.")
        if not raw.strip():
            raise InputError(index, "The text is empty.")
        return clean_text(raw, self._max_chars)

    def batch(self, items: Sequence[Any]) -> np.ndarray:
        """Token ids, int64 [items, tokens]; of a model that reads by several tokenizers [items, tokenizers, tokens]."""
        return stack_ids([(reader, reader.encode(items)) for reader in self._readers])

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """Each argument is a text."""
        return list(arguments.inputs)


def clean_text(text: str, max_chars: int) -> str:
    """The beginning of a text, without half surrogate pairs, which no tokenizer takes."""
    text = text[:max_chars]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class TokenReader:
    """Texts → token ids, by a tokenizer and how its ids are cut and padded.

    `special_tokens`: the tokenizer adds its own marks around each text, and leaves room for them when it cuts.
    """

    def __init__(self, tokenizer: Any, max_tokens: int, pad_id: int = 0, special_tokens: bool = False) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.pad_id = pad_id
        self.special_tokens = special_tokens

    @classmethod
    def open(cls, folder: Path, settings: dict[str, Any]) -> "TokenReader":
        """From a bundle's folder: `file`, `max_tokens`, `pad_id`, `special_tokens`."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / settings.get("file", "tokenizer.json")))
        own = {name: settings[name] for name in ("max_tokens", "pad_id", "special_tokens") if name in settings}
        return cls(tokenizer, **own)

    def settings(self) -> dict[str, Any]:
        """What `open` needs beside the file's name."""
        return {"max_tokens": self.max_tokens, "pad_id": self.pad_id, "special_tokens": self.special_tokens}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of some texts. The tokenizer's file says how it normalises; with special tokens, how it cuts."""
        found = self.tokenizer.encode_batch_fast(texts, add_special_tokens=self.special_tokens)
        return [encoding.ids for encoding in found]

    def pad(self, ids: Sequence[Any]) -> np.ndarray:
        """int64 [texts, length], cut to `max_tokens`."""
        return pad_ids(ids, self.max_tokens, self.pad_id)


def pad_ids(ids: Sequence[Any], max_tokens: int, pad_id: int = 0) -> np.ndarray:
    """int64 [texts, length], padded."""
    padded = np.full((len(ids), padded_length(min(max(map(len, ids)), max_tokens))), pad_id, dtype=np.int64)
    for row, tokens in zip(padded, ids, strict=True):
        row[: min(len(tokens), max_tokens)] = tokens[:max_tokens]
    return padded


def padded_length(longest: int) -> int:
    """To how many tokens a batch is padded whose longest text has so many: steps, so that the runtime's memory sees few
    shapes."""
    step = 16 if longest <= 128 else 64
    return max(1, -(-longest // step)) * step


def stack_ids(read: Sequence[tuple[TokenReader, Sequence[Any]]]) -> np.ndarray:
    """The same texts as read by each tokenizer: int64 [texts, tokens], or of several [texts, tokenizers, tokens]."""
    return stack_padded([(reader, reader.pad(ids)) for reader, ids in read])


def stack_padded(read: Sequence[tuple[TokenReader, np.ndarray]]) -> np.ndarray:
    """As `stack_ids`, of ids that each reader has padded by itself."""
    if len(read) == 1:
        return read[0][1]
    width = max(array.shape[1] for _, array in read)
    stacked = np.empty((len(read[0][1]), len(read), width), dtype=np.int64)
    for place, (reader, array) in enumerate(read):
        stacked[:, place, : array.shape[1]] = array
        stacked[:, place, array.shape[1] :] = reader.pad_id
    return stacked
