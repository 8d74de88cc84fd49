"""Text → label, or two texts → label."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workers.inference.core import Bundle, InputError, LabelPredictor

# A text, or the two of a pair.
Item = str | tuple[str, str]
# What a pair shares is told in so many steps, from nothing to all of it.
STEPS = 9
_ONE = {"text"}
_BOTH = {"text", "text_pair"}
_NO_TEXT = "A text is expected, as a JSON string."
_PAIRED = "This model takes one text: it has no text_pair."
_UNPAIRED = 'This model takes two texts: {"text": "…", "text_pair": "…"}.'


class TextLabels(LabelPredictor):
    """Text → label. An item is a text, cut to the manifest's `max_chars`; of a model of pairs two of them."""

    input_name = "token_ids"
    inputs_help = "texts"
    pairs = False

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        settings = bundle.manifest["preprocessing"]
        self._max_chars: int = settings["max_chars"]
        self.pairs = settings.get("pairs", False)
        self._readers = [TokenReader.open(bundle.folder, own) for own in settings.get("tokenizers", [settings])]

    def prepare(self, raw: Any, index: int = 0) -> Item:
        """The text itself, or {"text": ...}; of a model of pairs {"text": ..., "text_pair": ...}."""
        if isinstance(raw, str) and raw and not raw.isspace() and not self.pairs:
            return clean_text(raw, self._max_chars)  # nearly all
        if not isinstance(raw, dict):
            raw = {"text": raw}
        if raw.keys() != (_BOTH if self.pairs else _ONE):
            raise InputError(index, _UNPAIRED if self.pairs else _PAIRED if "text_pair" in raw else _NO_TEXT)
        for name, text in raw.items():
            if not isinstance(text, str):
                raise InputError(index, f"A {name} is expected, as a JSON string.")
            if not text.strip():
                raise InputError(index, f"The {name} is empty.")
        return as_item(raw, self._max_chars)

    def batch(self, items: Sequence[Any]) -> np.ndarray:
        """Token ids, int64 [items, tokens]; of a model that reads by several tokenizers [items, tokenizers, tokens]."""
        return stack_ids([(reader, reader.encode(items)) for reader in self._readers])

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Texts, and of pairs the second ones."""
        super().add_arguments(parser)
        help = "the second text of a pair; once for each text, in their order"
        parser.add_argument("--text-pair", metavar="TEXT", action="append", default=[], help=help)

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """Each argument is a text, or with --text-pair the first of a pair."""
        if not arguments.text_pair:
            return list(arguments.inputs)
        if len(arguments.text_pair) != len(arguments.inputs):
            raise InputError(None, f"{len(arguments.inputs)} texts and {len(arguments.text_pair)} --text-pair.")
        both = zip(arguments.inputs, arguments.text_pair, strict=True)
        return [{"text": text, "text_pair": pair} for text, pair in both]


def as_item(raw: Any, max_chars: int) -> Item:
    """What tokenizers read of a raw input that is known to be right."""
    if isinstance(raw, str):
        return clean_text(raw, max_chars)
    text = clean_text(raw["text"], max_chars)
    return (text, clean_text(raw["text_pair"], max_chars)) if "text_pair" in raw else text


def clean_text(text: str, max_chars: int) -> str:
    """The beginning of a text, without half surrogate pairs, which no tokenizer takes."""
    text = text[:max_chars]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class TokenReader:
    """Texts → token ids, by a tokenizer and how its ids are cut and padded.

    `special_tokens`: the tokenizer adds its own marks around each text, and leaves room for them when it cuts; pairs
    it reads in its own way, too. `pair_marks`: where it has no such way, the first of the ids by which `join_pair`
    joins two texts.
    """

    def __init__(
        self, tokenizer: Any, max_tokens: int, pad_id: int = 0, special_tokens: bool = False, pair_marks: int = 0
    ) -> None:
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.pad_id = pad_id
        self.special_tokens = special_tokens
        self.pair_marks = pair_marks

    @classmethod
    def open(cls, folder: Path, settings: dict[str, Any]) -> "TokenReader":
        """From a bundle's folder: `file` and what `settings` gives."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / settings.get("file", "tokenizer.json")))
        names = ("max_tokens", "pad_id", "special_tokens", "pair_marks")
        own = {name: settings[name] for name in names if name in settings}
        return cls(tokenizer, **own)

    def settings(self) -> dict[str, Any]:
        """What `open` needs beside the file's name."""
        marks = {"pair_marks": self.pair_marks} if self.pair_marks else {}
        return {"max_tokens": self.max_tokens, "pad_id": self.pad_id, "special_tokens": self.special_tokens, **marks}

    def encode(self, texts: Sequence[Item]) -> list[list[int]]:
        """Token ids of some texts, or pairs. The tokenizer's file says how it normalises; with special tokens, how it
        cuts."""
        if self.pair_marks:
            both = self._ids([text for pair in texts for text in pair])
            pairs = zip(both[::2], both[1::2], strict=True)
            return [join_pair(first, second, self.max_tokens, self.pair_marks) for first, second in pairs]
        return self._ids(texts)

    def _ids(self, texts: Sequence[Item]) -> list[list[int]]:
        found = self.tokenizer.encode_batch_fast(texts, add_special_tokens=self.special_tokens)
        return [encoding.ids for encoding in found]

    def pad(self, ids: Sequence[Any]) -> np.ndarray:
        """int64 [texts, length], cut to `max_tokens`."""
        return pad_ids(ids, self.max_tokens, self.pad_id)


def join_pair(first: list[int], second: list[int], most: int, marks: int) -> list[int]:
    """At most so many ids: how much of the first is in the second, and the other way round; both, with a mark between.

    Models that look at words and short phrases see by the first two what two texts have in common. Of too many tokens
    the longer text loses more. `marks` is the mark between, behind it come those of the first share, then the other's.
    """
    common = len(set(first) & set(second))
    shares = [common * (STEPS - 1) // max(1, len(set(ids))) for ids in (first, second)]
    room = most - len(shares) - 1
    first = first[: max(room - len(second), room // 2)]
    second = second[: room - len(first)]
    told = [marks + 1 + place * STEPS + share for place, share in enumerate(shares)]
    return [*told, *first, marks, *second]


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
