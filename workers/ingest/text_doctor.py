"""What a text's own characters tell of it: markup, broken encodings, personal data, ids, scripts, languages.

Rows stay as they are: these are findings to look at. Each check says what it cannot do without in a way that whole
columns are searched for at once, so that most texts cost next to nothing.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from workers.ingest import languages
from workers.ingest.findings import Findings
from workers.ingest.issues import Issues, Severity

_MARKUP = re.compile(r"</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>|&(?:amp|lt|gt|quot|nbsp|#\d{2,5}|#x[\da-fA-F]{2,4});")
# UTF-8 that was read as Latin-1 or Windows-1252, Windows-1252 that was read as Latin-1 (its quotes become control
# characters), and the sign for what could not be read.
_MOJIBAKE = re.compile(
    "[\u0080-\u009f]|[\u00c3\u00c2\u00d0\u00d1][\u0080-\u00bf\u0152-\u2122]|\u00e2\u20ac|\u00ef\u00bb\u00bf|\u00ef\u00bf\u00bd|\ufffd"
)
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)*\.[a-zA-Z]{2,}")
# Digits as phones and cards are written; what they are is asked of their number.
_DIGITS = re.compile(r"(?<![\w.,-])\+?\(?\d[\d ()/.-]{7,22}\d(?![\w-])")
_NOT_DIGIT = re.compile(r"\D")
# A row of digits is a phone number if it is written like one: with + or 00, or in groups behind a 0.
_PHONE = re.compile(
    r"(?:\+|00)[\d ()/.-]{8,}|\(?0\d{1,5}\)?[ /.-][\d ()/.-]{4,}|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4}"
)
_ID = re.compile(r"(?=\D*\d)[\w#-]+")
# Of so many texts it is asked in which script they are, and whether they are ids.
_SAMPLE: Final = 5000
_ID_SHARE: Final = 0.95
_SCRIPT_SHARE: Final = 0.05
_SCRIPTS: Final = {
    "Latin": re.compile(r"[A-Za-z\u00c0-\u024f]"),
    "Cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "Greek": re.compile(r"[\u0370-\u03ff]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "Hebrew": re.compile(r"[\u0590-\u05ff]"),
    "Devanagari": re.compile(r"[\u0900-\u097f]"),
    "Thai": re.compile(r"[\u0e00-\u0e7f]"),
    "Japanese": re.compile(r"[\u3040-\u30ff]"),
    "Korean": re.compile(r"[\uac00-\ud7af]"),
    "Chinese": re.compile(r"[\u4e00-\u9fff]"),
}


class Check(NamedTuple):
    """`find` gives what in a text is the matter, or None; `needs`, a pattern of Rust's, matches all such texts."""

    code: str
    severity: Severity
    needs: str
    find: Callable[[str], str | None]


def _markup(text: str) -> str | None:
    found = _MARKUP.search(text)
    return found[0] if found else None


def _mojibake(text: str) -> str | None:
    found = _MOJIBAKE.search(text)
    return found[0] if found else None


def _personal(text: str) -> str | None:
    found = next(iter(personal(text)), None)
    return text[found.start : found.end] if found else None


class Span(NamedTuple):
    """A place in a text that holds personal data: an "email", a "phone" or a "card"."""

    start: int
    end: int
    what: str


def personal(text: str) -> list[Span]:
    """Where a text holds what looks like an e-mail address, a phone number or a payment card; none overlap."""
    mails = [Span(*mail.span(), "email") for mail in _EMAIL.finditer(text)] if "@" in text else []
    found, next_mail = list(mails), 0
    for digits in _DIGITS.finditer(text):
        # Both lists are in order: mails that end before these digits end before all further ones.
        while next_mail < len(mails) and mails[next_mail].end <= digits.start():
            next_mail += 1
        written = digits[0].rstrip()
        what = "phone" if _PHONE.fullmatch(written) else "card" if is_card(_NOT_DIGIT.sub("", written)) else ""
        if what and (next_mail == len(mails) or digits.end() <= mails[next_mail].start):
            found.append(Span(digits.start(), digits.start() + len(written), what))
    return sorted(found)


# A new check of single texts is a line here and an entry in the catalogue.
CHECKS: Final = (
    Check("text_mojibake", "warning", _MOJIBAKE.pattern, _mojibake),
    Check("text_markup", "info", "</?[a-zA-Z]|&(?:amp|lt|gt|quot|nbsp|#)", _markup),
    Check("text_personal", "warning", r"\S@\S+\.[a-zA-Z]|\d[\d ()/.-]{7}[\d ()/.-]*\d", _personal),
)
# Finds the texts that any of the checks may find something in.
NEEDS: Final = "|".join(check.needs for check in CHECKS)


def is_card(digits: str) -> bool:
    """Whether digits are the number of a payment card: 13 to 19 of them, the last one Luhn's check digit (ISO 7812)."""
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(int(digit) for digit in digits[-1::-2]) + sum(doubled)) % 10 == 0


# Texts and their places: all of a column and where NEEDS may find something, or some texts and the row of each.
Texts = tuple[pl.Series, npt.NDArray[Any]]


class TextDoctor:
    """Looks at accepted texts as they come: one or several columns of them."""

    def __init__(self, issues: Issues, findings: Findings) -> None:
        self._issues, self._findings = issues, findings
        self._samples: defaultdict[str, _Sample] = defaultdict(_Sample)
        self._spread: defaultdict[str, languages.Sample] = defaultdict(languages.Sample)

    def look(self, columns: dict[str, Texts], first: int, lines: npt.NDArray[np.int64]) -> None:
        """Accepted texts by the name of their column, from row `first` of the version on, and their lines."""
        held = {column: _holding(NEEDS, texts.gather(among), among) for column, (texts, among) in columns.items()}
        for check in CHECKS:
            hits = {column: _hits(check, *texts) for column, texts in held.items()}
            self._tell(check, {column: found for column, found in hits.items() if found}, first, lines)
        for column, (texts, _) in columns.items():
            self._samples[column].add(texts, lines)
            self._spread[column].add(texts, lines)

    def _tell(
        self, check: Check, hits: dict[str, list[tuple[int, str, str]]], first: int, lines: npt.NDArray[np.int64]
    ) -> None:
        for column, found in hits.items():
            for row, text, what in found[: self._issues.max_examples]:
                value = _around(text, what)
                self._issues.add(check.code, check.severity, line=int(lines[row]), column=column, value=value, count=0)
        # A row counts once, in whichever of its columns something is found.
        if rows := sorted({row for found in hits.values() for row, _, _ in found}):
            self._issues.add(check.code, check.severity, count=len(rows))
            self._findings.extend(np.array(rows) + first, check.code)

    def conclude(self) -> dict[str, Any]:
        """What can be said of all texts of a column together; of the first column also a part of the profile."""
        for column, sample in self._samples.items():
            if sample.seen and sample.ids >= _ID_SHARE * sample.seen:
                self._issues.add("text_is_id", "warning", line=1, column=column, value=column)
            for name in sample.common():
                line, text = sample.first[name]
                count = sample.scripts[name]
                value = f"{name}, {count / sample.seen:.0%}: {text}"
                self._issues.add("text_scripts", "info", line=line, column=column, value=value, count=count)
        told = [languages.tell(sample, self._issues, column) for column, sample in self._spread.items()]
        return told[0] if told else {}


class _Sample:
    """The first texts of a column: how many were seen, are ids, are in which script, and the first of each script."""

    def __init__(self) -> None:
        self.seen = self.ids = 0
        self.scripts: Counter[str] = Counter()
        self.first: dict[str, tuple[int, str]] = {}

    def add(self, texts: pl.Series, lines: npt.NDArray[np.int64]) -> None:
        if self.seen >= _SAMPLE:
            return
        for text, line in zip(texts[: _SAMPLE - self.seen], lines.tolist(), strict=False):
            self.seen += 1
            self.ids += bool(_ID.fullmatch(text.strip()))
            script = _script(text)
            self.scripts[script] += 1
            self.first.setdefault(script, (line, text))

    def common(self) -> list[str]:
        """The scripts of more than a few texts, where there are several."""
        named = [(name, count) for name, count in self.scripts.most_common() if name]
        found = [name for name, count in named if count >= _SCRIPT_SHARE * self.seen]
        return found if len(found) > 1 else []


def _holding(pattern: str, texts: pl.Series, rows: npt.NDArray[Any]) -> Texts:
    """Of the texts of some rows those that a pattern is found in, and their rows."""
    found = texts.str.contains(pattern)
    return texts.filter(found), rows[found.to_numpy()]


def _hits(check: Check, texts: pl.Series, rows: npt.NDArray[Any]) -> list[tuple[int, str, str]]:
    """The rows that a check finds something in: place, text and what is found."""
    texts, rows = _holding(check.needs, texts, rows)
    found = ((row, text, check.find(text)) for row, text in zip(rows.tolist(), texts, strict=True))
    return [(row, text, what) for row, text, what in found if what]


def _script(text: str) -> str:
    """The script that most of a text's first letters are in; Kana makes Chinese characters Japanese."""
    head = text[:200]
    if head.isascii():
        return "Latin" if _SCRIPTS["Latin"].search(head) else ""
    counts = {name: len(pattern.findall(head)) for name, pattern in _SCRIPTS.items()}
    if counts["Japanese"]:
        counts["Japanese"] += counts.pop("Chinese")
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else ""


def _around(text: str, found: str) -> str:
    """The place in a long text where something was found."""
    start = max(0, text.find(found) - 60)
    return ("…" if start else "") + text[start:]
