"""Text → label."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.inference.core import InputError, LabelPredictor


class TextLabels(LabelPredictor):
    """Text → label. An item is a text, cut to the manifest's `max_chars`."""

    input_name = "token_ids"
    inputs_help = "texts"

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        providers: list[str],
        threads: int | None,
    ) -> None:
        super().__init__(folder, manifest, providers, threads)
        from tokenizers import Tokenizer

        settings = manifest["preprocessing"]
        self._max_chars: int = settings["max_chars"]
        self._max_tokens: int = settings["max_tokens"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

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
        """Token ids, int64 [items, tokens]."""
        return pad_ids(encode_texts(self._tokenizer, items), self._max_tokens)

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """Each argument is a text."""
        return list(arguments.inputs)


def clean_text(text: str, max_chars: int) -> str:
    """The beginning of a text, without half surrogate pairs, which no tokenizer takes."""
    text = text[:max_chars]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of some texts; the tokenizer's own file says how it normalises and cuts."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def pad_ids(ids: Sequence[Any], max_tokens: int) -> np.ndarray:
    """int64 [texts, length], padded with 0. Lengths go in steps, so that the runtime's memory sees few shapes."""
    longest = min(max(map(len, ids)), max_tokens)
    step = 16 if longest <= 128 else 64
    padded = np.zeros((len(ids), max(1, -(-longest // step)) * step), dtype=np.int64)
    for row, tokens in zip(padded, ids, strict=True):
        row[: min(len(tokens), max_tokens)] = tokens[:max_tokens]
    return padded
