"""The icons of the dashboard: Tabler's, as npm delivers them, drawn into the page."""

import re
from functools import cache
from pathlib import Path
from typing import Final

from django.utils.safestring import SafeString

_FOLDER: Final = Path(__file__).resolve().parents[2] / "node_modules" / "@tabler" / "icons" / "icons" / "outline"
_DRAWING: Final = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)


@cache
def drawing(name: str) -> SafeString:
    """What lies between <svg> and </svg> of an icon. Raises OSError for a name that Tabler does not have."""
    text = (_FOLDER / f"{name}.svg").read_text("utf-8")
    found = _DRAWING.search(text)
    if found is None:
        raise OSError(f"{name}.svg holds no drawing")
    # From a pinned package, never from a user.
    return SafeString(" ".join(found[1].split()))
