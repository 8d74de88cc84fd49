"""Unicode normal forms (UAX #15) of texts by anybody, in time that grows with their length."""

import re
import unicodedata
from functools import cache
from typing import Final, Literal

# Marks that follow one letter are sorted in a time that grows by the square of their number. One character of so many
# is looked at; where so many of these in a row are marks, there may be hundreds on one letter, and it is no text.
_STEP: Final = 32
_MOST: Final = 16


def normal(form: Literal["NFC", "NFKC"], text: str) -> str:
    """The text in a normal form; what is little else than marks stays as it is."""
    return text if is_heaped(text) else unicodedata.normalize(form, text)


def is_heaped(text: str) -> bool:
    """Whether a long part of a text is little else than marks."""
    return not text.isascii() and _marks().search(text[::_STEP]) is not None


@cache
def _marks() -> re.Pattern[str]:
    """Finds too many marks in a row. A mark is what is made of nothing but combining characters."""
    marks = [one for one in map(chr, range(0x300, 0x1F000)) if _is_mark(one)]
    return re.compile(f"[{''.join(marks)}]{{{_MOST}}}")


def _is_mark(character: str) -> bool:
    if not unicodedata.combining(character) and not unicodedata.decomposition(character):
        return False
    return all(map(unicodedata.combining, unicodedata.normalize("NFKD", character)))
