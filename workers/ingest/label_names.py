"""Names of labels that look like one label written in several ways."""

import re
from collections import defaultdict
from typing import Final

from workers.ingest.normal_forms import normal

# What separates words, and signs that nobody sees; between digits a space or a dash means something.
_BETWEEN = re.compile(r"(?<=[^\W\d_])[\s_\-‐-―]+(?=[^\W_])|(?<=[^\W_])[\s_\-‐-―]+(?=[^\W\d_])")
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_WORD = re.compile(r"[^\W\d_]+")
# A typo is told of a label with at least so many letters in the word, beside one that is so many times as frequent.
_LETTERS: Final = 5
_TIMES: Final = 20


def folded(name: str) -> str:
    """The name without what people write differently by chance: case, spaces, dashes, full-width forms."""
    return _BETWEEN.sub("", _plain(name))


def _plain(name: str) -> str:
    return " ".join(_UNSEEN.sub("", normal("NFKC", name)).casefold().split())


def similar(classes: dict[str, int]) -> list[list[str]]:
    """Groups of names that are equal when folded, the most frequent first; `classes`: rows by name."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(classes, key=lambda one: (-classes[one], one)):
        groups[folded(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def typos(classes: dict[str, int]) -> list[list[str]]:
    """[[the frequent name, the rare one], …]: names that are one slip apart (a letter more, less, other, or two
    swapped), where the rare one is too rare to be a class of its own beside the other.

    Only in words of at least five letters and not at their beginning: "typical" and "atypical" are two things, as are
    "part A" and "part B", or two Chinese words.
    """
    rows: defaultdict[str, int] = defaultdict(int)
    shown: dict[str, str] = {}
    for name in sorted(classes, key=lambda one: (-classes[one], one)):
        rows[_plain(name)] += classes[name]
        shown.setdefault(_plain(name), name)
    by_slip: defaultdict[str, list[str]] = defaultdict(list)
    for name in rows:
        for slip in _slips(name):
            by_slip[slip].append(name)
    found: dict[str, str] = {}
    for names in by_slip.values():
        frequent = max(names, key=lambda one: rows[one])
        for name in names:
            if rows[frequent] >= _TIMES * rows[name] and _one_slip(frequent, name):
                found.setdefault(name, frequent)
    return [[shown[frequent], shown[rare]] for rare, frequent in found.items()]


def described(group: list[str], classes: dict[str, int]) -> str:
    """The group for a person: "Spam (512), spam (3)"."""
    return ", ".join(f"{name} ({classes[name]:,})" for name in group)


def _slips(name: str) -> set[str]:
    """The name, and with any one letter left out: names one slip apart have one of these in common."""
    return {name, *(name[:at] + name[at + 1 :] for at in range(len(name)))} if len(name) <= 60 else set()


def _one_slip(first: str, second: str) -> bool:
    """Whether two names differ by one slip inside one long word of letters of an alphabet."""
    start = next((at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), None)
    start = min(len(first), len(second)) if start is None else start
    end = 0
    while end < min(len(first), len(second)) - start and first[-1 - end] == second[-1 - end]:
        end += 1
    parts = first[start : len(first) - end], second[start : len(second) - end]
    swapped = len(parts[0]) == 2 and parts[0] == parts[1][::-1]
    if not (swapped or max(map(len, parts)) == 1):
        return False
    if not all(part.isalpha() and _is_alphabetic(part) for part in parts if part):
        return False
    # The word that holds the slip, in both names, and not its first letter.
    words = [
        next((word for word in _WORD.finditer(name) if word.start() < start <= word.end()), None)
        for name in (first, second)
    ]
    return all(word is not None and len(word[0]) >= _LETTERS for word in words)


def _is_alphabetic(letters: str) -> bool:
    return all(ord(letter) < 0x2E80 for letter in letters)
