"""A tokenizer trained on the data: byte-pair encoding (Sennrich et al. 2016) over words of any script."""

from collections.abc import Iterable
from typing import Final

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

PAD, UNKNOWN = "[PAD]", "[UNK]"
WORD_START: Final = "▁"
# Scripts written without spaces: each sign is a word of its own, and the network's n-grams join them again.
_SIGNS: Final = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_PUNCTUATION: Final = rf"[^\p{{L}}\p{{N}}\p{{M}}{WORD_START}]"


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, lowercase: bool, max_tokens: int) -> Tokenizer:
    """A tokenizer with at most `vocabulary` tokens: 0 is padding, 1 stands for signs that were never seen."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=True))
    steps: list[normalizers.Normalizer] = [normalizers.NFKC()]
    if lowercase:
        steps.append(normalizers.Lowercase())
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex(_SIGNS), "isolated"),
            pre_tokenizers.Split(Regex(_PUNCTUATION), "isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, UNKNOWN],
        show_progress=False,
        max_token_length=24,
        limit_alphabet=4000,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.enable_truncation(max_tokens)
    return tokenizer
