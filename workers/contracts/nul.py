"""The one character that Postgres stores neither in text nor in JSON."""

import re
from typing import Final

# In JSON it is always written so. Behind an odd number of backslashes, these are letters that follow a backslash.
_ESCAPED: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def is_in(document: bytes) -> bool:
    """Whether a text of a JSON document holds a NUL."""
    return b"\\u0000" in document and _ESCAPED.search(document) is not None
