"""Training of text classifiers: tokenizer, examples, network, and what the served path needs of them."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn

from workers.engine.balance import class_weights
from workers.engine.classification import TrainedClassifier
from workers.engine.edge_cases import EdgeCase, pair_cases, text_cases
from workers.engine.examples import Examples, known_rows
from workers.engine.labels import label_indices, training_labels
from workers.engine.links import probabilities, scores_of
from workers.engine.logistic import weigh
from workers.engine.loop import fit, predict
from workers.engine.run import CrossFitted, Run
from workers.engine.settings import Settings
from workers.engine.several_labels import said_of
from workers.engine.text_linear import LINEAR_END, LINEAR_START, LinearTrainer
from workers.engine.text_network import TextEnsemble, TextNetwork, TextNetworks, phrase_table
from workers.inference.text import (
    STEPS,
    Item,
    TextLabels,
    TokenReader,
    as_item,
    padded_length,
    stack_ids,
    stack_padded,
)
from workers.task_templates.text_classification import TextParams

# Longer tokens than this many characters per token are rare; what lies behind is not even read.
_CHARS_PER_TOKEN = 12
_PAD, _UNKNOWN = "[PAD]", "[UNK]"
# Between two texts, and before them what they have in common: see `join_pair`. Private characters: no text holds them.
_PAIR_MARKS = [chr(0xE000 + place) for place in range(1 + 2 * STEPS)]
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_IN_WORD = rf"[[\p{{L}}\p{{N}}\p{{M}}]&&[^{_UNSPACED[1:-1]}]]"
_MOST_PHRASES = 100_000
# How much the linear model and the network count where no validation rows say it: the network is the surer one.
_USUAL_WEIGHTS = (1.0, 0.5)
# Below so many training rows the network is the less sure one, the fewer they are.
_ENOUGH_ROWS = 1000
# Of fewer characters than this, words that occur once are tokens as well: there are few others to learn from.
_FEW_CHARACTERS = 50_000
_LEARNED_ALL = "The validation rows are judged as they were answered before some of the model learned from them, too."
# Tokens that a training run reads, counted over all its epochs, where the user sets no epochs; and the most epochs.
_BUDGET = {"fast": 5e6, "balanced": 15e6, "best": 30e6}
_MOST_EPOCHS = {"fast": 6, "balanced": 14, "best": 14}


def train_text(run: Run) -> "TrainedText":
    """Train as the parameters say: from scratch, on a pretrained encoder, or both. Raises JobError."""
    params = run.params
    assert isinstance(params, TextParams)
    if params.encoder == "none":
        return train_from_scratch(run)
    # transformers takes seconds to import.
    from workers.engine.encoder_text import train_on_encoder

    return train_on_encoder(run, train_from_scratch)


def train_from_scratch(run: Run) -> "TrainedText":
    """Train a tokenizer on the training rows, then the network. Raises JobError."""
    params = run.params
    assert isinstance(params, TextParams)
    run.progress(0.0, "Reading texts")
    if run.device.type == "cpu" and params.channels <= 64:
        # These operations are too small to share: a second thread costs more in waiting than it computes.
        torch.set_num_threads(1)
    labels = training_labels(run.preparation)
    max_chars = params.max_tokens * _CHARS_PER_TOKEN
    tokenizer = _own_tokenizer(run.preparation, params, max_chars)
    run.progress(0.02, "Reading texts")
    readers = [_own_reader(run, tokenizer, params.max_tokens)]
    train, validation, test = (
        TextExamples(run, split, readers, labels, max_chars) for split in ("train", "validation", "test")
    )
    if train.cut:
        run.log(f"{train.cut:,} of {len(train):,} texts have {params.max_tokens} tokens or more; the rest is not read.")
    model, before = _train_model(run, params, tokenizer, labels, train, validation)
    evaluation: dict[str, Examples] = {"validation": validation, "test": test}
    if not len(validation) and not len(test):
        evaluation = {"train": train}
    return TrainedText(run, model, labels, evaluation, readers, max_chars, before)


def may_learn_all(run: Run, params: TextParams, validation: Examples) -> bool:
    """Whether a model may learn from the validation rows, too, once they have judged it: where nothing is compared by
    them later, and there are test rows to certify by."""
    is_compared = bool(params.tune or params.folds) or run.preparation is not run
    return len(validation) > 0 and not is_compared and len(run.places("test")) > 0


def _train_model(
    run: Run,
    params: TextParams,
    tokenizer: Tokenizer,
    labels: list[str],
    train: "TextExamples",
    validation: "TextExamples",
) -> tuple[nn.Module, np.ndarray | None]:
    """The linear model, then the networks, and how much each counts in their common answer; and, where it learned from
    the validation rows in the end, the probabilities by which it answered them before."""
    settings = _settings(run, params, len(train), train.tokens)
    linear = _train_linear(run, params, tokenizer, labels, train, validation, settings) if params.linear else None
    batches = [train.batch(rows) for rows in train.batches(np.arange(len(train)), 256, np.random.default_rng(0))]
    torch.manual_seed(run.seed)
    table = phrase_table(batches, params.phrases, _MOST_PHRASES)
    networks = [
        TextNetwork(
            tokenizer.get_vocab_size(),
            len(labels),
            table,
            longest_phrase=params.phrases,
            # Many classes need more directions to be told apart in.
            bag_width=16 if len(labels) <= 20 else 32 if len(labels) <= 50 else 64,
            channels=params.channels,
            dropout=params.dropout,
        )
        for _ in range(params.networks)
    ]
    network = TextNetworks(networks, train.multi_label) if len(networks) > 1 else networks[0]
    run.log(
        f"Learning {len(labels)} classes from {len(train):,} texts: {tokenizer.get_vocab_size():,} words "
        f"and word parts, {table.max():,} phrases, "
        f"{settings.epochs} epochs in batches of {settings.batch_size}."
    )
    fit(run, network, train, validation, settings)
    if linear is None:
        return network, None
    start = [_USUAL_WEIGHTS[0], _USUAL_WEIGHTS[1] * min(1.0, len(train) / _ENOUGH_ROWS)]
    return _together(run, linear, network, start, validation)


class _Linear(NamedTuple):
    """The linear model, and the probabilities, float32 [rows, labels], by which it answered the validation rows; where
    it `learned_all`, from them too in the end, those by which it answered them before."""

    model: nn.Module
    validation: np.ndarray
    learned_all: bool


def _train_linear(
    run: Run,
    params: TextParams,
    tokenizer: Tokenizer,
    labels: list[str],
    train: "TextExamples",
    validation: "TextExamples",
    settings: Settings,
) -> _Linear:
    """The validation rows choose its strength; then it learns from them, too, if they are not needed later: of few rows
    a tenth more is worth more than any setting, and the linear model is quick."""
    importance = class_weights(train.labels, settings).numpy()
    # Beside an encoder these rows are needed once more: for how much each of the two counts.
    learns_all = params.encoder == "none" and may_learn_all(run, params, validation)
    middle = (LINEAR_START + 2 * LINEAR_END) / 3 if learns_all else LINEAR_END
    first = LinearTrainer(run, tokenizer, len(labels), end=middle).train(train, validation, importance)
    answers = predict(first.to(run.device), validation, run.device)
    linear = first
    if learns_all:
        again = LinearTrainer(run, tokenizer, len(labels), start=middle)
        every, nothing = train.joined(validation), validation.kept(np.arange(0))
        linear = again.train(every, nothing, importance, run.chosen.get("ngram_strength"))
    run.log(f"Learned {len(linear.ngrams):,} n-grams of words and characters.")
    return _Linear(linear.to(run.device), answers, learns_all)


def _together(
    run: Run, linear: _Linear, network: nn.Module, weights: list[float], validation: "TextExamples"
) -> tuple[TextEnsemble, np.ndarray | None]:
    """Linear model and network, weighed by their log loss on the validation rows, or by `weights` where there are none;
    and as in `_train_model`."""
    answers = [linear.validation, predict(network, validation, run.device)]
    known, multi_label = known_rows(validation.labels), validation.multi_label
    logs = [scores_of(torch.from_numpy(answer), multi_label) for answer in answers]
    if len(known):
        truth = validation.labels[known]
        weights = weigh([scores.numpy()[known] for scores in logs], truth, weights)
        alone = " and ".join(said_of(truth, answer[known]) for answer in answers)
        run.log(f"The n-grams and the network alone on the validation rows: {alone}.")
    run.choose(linear_weight=weights[0], network_weight=weights[1])
    run.log(f"Their answers are weighed {weights[0]:.2f} to {weights[1]:.2f}.")
    before = None
    if linear.learned_all:
        before = probabilities(weights[0] * logs[0] + weights[1] * logs[1], multi_label).numpy()
    return TextEnsemble(linear.model, network, weights, multi_label), before


def _own_tokenizer(run: Run, params: TextParams, max_chars: int) -> Tokenizer:
    return train_tokenizer(
        lambda: _texts(run, "train", max_chars), params.vocabulary, params.lowercase, _PAIR_MARKS if run.pairs else []
    )


def _own_reader(run: Run, tokenizer: Tokenizer, max_tokens: int) -> TokenReader:
    marks = tokenizer.token_to_id(_PAIR_MARKS[0]) if run.pairs else None
    return TokenReader(tokenizer, max_tokens, pair_marks=marks or 0)


def train_tokenizer(
    texts: Callable[[], Iterator[str]], vocabulary: int, lowercase: bool, marks: Sequence[str] = ()
) -> Tokenizer:
    """A byte-pair tokenizer learned from the texts. Id 0 pads, id 1 is any character never seen in training; then come
    `marks`, which stand for no text.

    Unicode is brought to one form (NFKC) and the starts of words are marked. Every sign, and every character of scripts
    written without spaces (Chinese, Japanese), is a token of its own; phrases then play the part of words.
    The same texts give the same tokenizer: a resumed training depends on it. So the normalizer makes the mark, and the
    alphabet is chosen here; the trainer's own prefix, and its choice among rare characters, follow a hash map's order.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN, fuse_unk=True))
    mark = normalizers.Replace(Regex(rf"(?<!{_IN_WORD})(?={_IN_WORD})"), "▁")
    forms = [normalizers.NFKC(), *([normalizers.Lowercase()] if lowercase else []), mark]
    tokenizer.normalizer = normalizers.Sequence(forms)
    signs = Regex(rf"{_UNSPACED}|[^\p{{L}}\p{{N}}\p{{M}}▁]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s+"), "removed"), pre_tokenizers.Split(signs, "isolated")]
    )
    characters: Counter[str] = Counter()
    for text in texts():
        characters.update(tokenizer.normalizer.normalize_str(text))
    common = sorted(characters, key=lambda character: (-characters[character], character))
    alphabet = common[: max(100, vocabulary // 2)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2 if characters.total() >= _FEW_CHARACTERS else 1,
        special_tokens=[_PAD, _UNKNOWN, *marks],
        show_progress=False,
        max_token_length=24,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def _texts(run: Run, split: str, max_chars: int) -> Iterator[str]:
    """Each text; of a pair both, one after the other."""
    for raw in _raws(run, split, 4096):
        item = as_item(raw, max_chars)
        yield from (item,) if isinstance(item, str) else item


def _raws(run: Run, split: str, size: int = 256) -> Iterator[Any]:
    """The texts or pairs of a split, as a client would send them."""
    for batch in run.batches(split, _columns(run), size):
        yield from _as_sent(batch)


def _columns(run: Run) -> list[str]:
    return ["text", "text_pair"] if run.pairs else ["text"]


def _as_sent(rows: Any) -> list[Any]:
    """Of a table or batch of `_columns`: texts, or objects with both texts of a pair."""
    return list(rows.to_pylist()) if "text_pair" in rows.schema.names else list(rows["text"].to_pylist())


def _settings(run: Run, params: TextParams, rows: int, tokens: int) -> Settings:
    """Fill in what the user left to the data: epochs, batch size."""
    preset = run.train.preset
    epochs = params.epochs or min(_MOST_EPOCHS[preset], max(3, round(_BUDGET[preset] / max(1, tokens))))
    batch_size = params.batch_size or (32 if rows < 20_000 else 64 if rows < 100_000 else 128)
    if rows < 32 * batch_size:
        # A few hundred rows: smaller batches and more rounds, or there would be too few steps to learn anything.
        batch_size = params.batch_size or max(4, 2 ** int(math.log2(max(4, rows / 32))))
        epochs = params.epochs or max(14, _MOST_EPOCHS[preset])
    run.choose(epochs=epochs, batch_size=batch_size)
    return Settings.of(params, epochs=epochs, batch_size=batch_size)


class TextExamples(Examples):
    """Token ids of one split by each reader, end to end in one array: 4 bytes per token.

    `lengths`: how many tokens of each text the first reader reads; `cut`: how many texts fill all that it can.
    """

    most_tokens: int | None = None
    """So many of them are computed at once, where that is to be bounded."""

    def __init__(self, run: Run, split: str, readers: Sequence[TokenReader], labels: list[str], max_chars: int) -> None:
        self.labels = label_indices(run, split, labels)
        self._readers = readers
        parts: list[list[np.ndarray]] = [[] for _ in readers]
        lengths = [[0] for _ in readers]
        for batch in run.batches(split, _columns(run), 4096):
            texts: list[Item] = [as_item(raw, max_chars) for raw in _as_sent(batch)]
            for place, reader in enumerate(readers):
                for ids in reader.encode(texts):
                    parts[place].append(np.array(ids[: reader.max_tokens], dtype=np.int32))
                    lengths[place].append(len(parts[place][-1]))
        # One more than there are: where padding is read from.
        self._ids = [np.concatenate([*part, np.zeros(1, dtype=np.int32)]) for part in parts]
        ends = [np.cumsum(length) for length in lengths]
        self._starts, self._ends = [end[:-1] for end in ends], [end[1:] for end in ends]
        self.lengths = np.array(lengths[0][1:])
        self.tokens = int(ends[0][-1])
        self.cut = int((self.lengths >= readers[0].max_tokens).sum())

    def batch(self, rows: np.ndarray) -> torch.Tensor:
        """int64 [rows, tokens] (of several readers [rows, readers, tokens]), padded as the served path pads."""
        packed = zip(self._readers, self._ids, self._starts, self._ends, strict=True)
        read = [(reader, _padded(ids, starts[rows], ends[rows], reader.pad_id)) for reader, ids, starts, ends in packed]
        return torch.from_numpy(stack_padded(read))

    def kept(self, rows: np.ndarray) -> "TextExamples":
        """These rows alone."""
        some = copy.copy(self)
        some.labels, some.lengths = self.labels[rows], self.lengths[rows]
        some._starts, some._ends = [s[rows] for s in self._starts], [e[rows] for e in self._ends]
        return some

    def joined(self, other: "TextExamples") -> "TextExamples":
        """These rows, then those of another split whose label is known, read by the same readers."""
        both, others = copy.copy(self), other.kept(known_rows(other.labels))
        both.labels = np.concatenate([self.labels, others.labels])
        both.lengths = np.concatenate([self.lengths, others.lengths])
        both._ids = [np.concatenate(ids) for ids in zip(self._ids, others._ids, strict=True)]
        # The others' stretches lie behind all of these.
        sizes = [len(ids) for ids in self._ids]
        both._starts = [np.append(ours, s + n) for ours, s, n in zip(self._starts, others._starts, sizes, strict=True)]
        both._ends = [np.append(ours, e + n) for ours, e, n in zip(self._ends, others._ends, sizes, strict=True)]
        return both

    def at_once(self, rows: np.ndarray) -> int:
        """So many that all their tokens, padding included, are `most_tokens`, if that is set."""
        longest = padded_length(int(self.lengths[rows].max()))
        return max(1, self.most_tokens // longest) if self.most_tokens else len(rows)

    def batches(self, rows: np.ndarray, size: int, order: np.random.Generator) -> list[np.ndarray]:
        """With texts of like length together: within 16 batches' worth of rows they are sorted by length."""
        lengths = self.lengths
        chunks = np.split(rows, range(size * 16, len(rows), size * 16))
        rows = np.concatenate([chunk[np.argsort(lengths[chunk], kind="stable")] for chunk in chunks])
        batches = np.array_split(rows, math.ceil(len(rows) / size))
        return [batches[index] for index in order.permutation(len(batches))]


def _padded(ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, pad_id: int) -> np.ndarray:
    """int64 [texts, length]: some stretches of `ids`, padded."""
    offsets = np.arange(padded_length(int((ends - starts).max())))
    places = starts[:, None] + offsets
    found = np.where(places < ends[:, None], ids.take(places, mode="clip"), pad_id)
    return found.astype(np.int64)


class TrainedText(TrainedClassifier):
    """A text classifier, trained."""

    input_name = TextLabels.input_name

    def __init__(
        self,
        run: Run,
        network: nn.Module,
        labels: list[str],
        evaluation: dict[str, Examples],
        readers: Sequence[TokenReader],
        max_chars: int,
        before: np.ndarray | None = None,
    ) -> None:
        """`before`: where some of the model learned from the validation rows in the end, the probabilities, float32
        [rows, labels], by which it answered them when it had not."""
        super().__init__(run, network, labels, evaluation, {} if before is None else {"validation": before})
        self.notes = [] if before is None else [_LEARNED_ALL]
        self.readers = readers
        self.max_chars = max_chars

    def raw_inputs(self, split: str) -> Iterator[Any]:
        """The texts, or pairs, as stored."""
        return _raws(self.run, split)

    def shown(self, split: str, rows: np.ndarray) -> list[str]:
        """The beginnings of the texts; of a pair one below the other."""
        raws = _as_sent(self.run.split(split, _columns(self.run)).take(rows))
        return [raw[:500] if isinstance(raw, str) else "\n".join(text[:250] for text in raw.values()) for raw in raws]

    def encode(self, raws: list[Any]) -> torch.Tensor:
        """int64 [texts, tokens], or of several tokenizers [texts, tokenizers, tokens]."""
        texts = [as_item(raw, self.max_chars) for raw in raws]
        return torch.from_numpy(stack_ids([(reader, reader.encode(texts)) for reader in self.readers]))

    def edge_cases(self) -> list[EdgeCase]:
        """Empty, very long and unusual texts."""
        return pair_cases() if self.run.pairs else text_cases()

    def example_input(self) -> torch.Tensor:
        """Two texts of 16 tokens."""
        several = (len(self.readers),) if len(self.readers) > 1 else ()
        return torch.full((2, *several, 16), 2, dtype=torch.int64)

    def dynamic_axes(self) -> dict[int, str]:
        """Batch and length vary."""
        return {0: "batch", 2 if len(self.readers) > 1 else 1: "length"}

    def export_side_files(self, folder: Path) -> dict[str, Any]:
        """A file for each tokenizer, and how texts are cut."""
        tokenizers = []
        for number, reader in enumerate(self.readers):
            name = f"tokenizer{number + 1 if number else ''}.json"
            reader.tokenizer.save(str(folder / name), pretty=False)
            tokenizers.append({"file": name, **reader.settings()})
        cut = {"max_chars": self.max_chars, "max_tokens": self.readers[-1].max_tokens}
        return {**cut, "tokenizers": tokenizers, **({"pairs": True} if self.run.pairs else {})}

    def input_schema(self) -> dict[str, Any]:
        """Of pairs both texts; else the template's."""
        if not self.run.pairs:
            return {}
        text = {"type": "string", "minLength": 1}
        return {
            "type": "object",
            "title": "Two texts",
            "properties": {"text": text, "text_pair": text},
            "required": ["text", "text_pair"],
            "additionalProperties": False,
            "examples": self.reference_cases()[:1],
        }

    def cross_fit(self, whole: Run, labels: list[str], given: np.ndarray, dealt: np.ndarray) -> CrossFitted:
        """See Trained. By logistic regression on TF-IDF, whatever the model itself is: a small part of its cost, and
        not far behind it. N-grams of characters add little to those of tokens and cost more than the rest: not where
        training is to be fast. The tokens are the model's own, or learned from all texts."""
        params = whole.params
        assert isinstance(params, TextParams)
        own = next((reader for reader in self.readers if reader.tokenizer.id_to_token(1) == _UNKNOWN), None)
        tokenizer = own.tokenizer if own else _own_tokenizer(whole, params, self.max_chars)
        readers = [_own_reader(whole, tokenizer, params.max_tokens)]
        texts = TextExamples(whole, "train", readers, labels, self.max_chars)
        characters = whole.train.preset != "fast"
        answers = LinearTrainer(whole, tokenizer, len(labels)).cross_fit(texts, dealt, characters)
        return CrossFitted(answers, "logistic regression on words" + (" and characters" if characters else ""))

    def reference_cases(self) -> list[Any]:
        """The first texts of the evaluation rows."""
        split = self.certified_split()
        raws = _as_sent(self.run.split(split, _columns(self.run)).slice(0, 5))
        cut = [{"text": raw} if isinstance(raw, str) else raw for raw in raws]
        cut = [{name: text[:1000] for name, text in raw.items()} for raw in cut]
        return cut if self.run.pairs else [raw["text"] for raw in cut]
