"""Texts that are far longer than the others, or hardly there."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from workers.ingest.coding import LineNumbers
from workers.ingest.context import Import

# Models read the beginning of a text: of one that is so long, and so many times as long as half of them, little.
_LONG: Final = 5_000
_TIMES: Final = 20
_SHORT: Final = 2


def tell(ctx: Import, lengths: dict[str, npt.NDArray[Any]], lines: LineNumbers, columns: dict[str, str]) -> None:
    """Tell of the staged texts, by their number of characters. `columns`: role of a text → its column in the file."""
    limits = {role: max(_LONG, _TIMES * float(np.median(found))) for role, found in lengths.items()}
    found = {
        "text_long": {role: np.flatnonzero(sizes > limits[role]) for role, sizes in lengths.items()},
        "text_short": {role: np.flatnonzero(sizes <= _SHORT) for role, sizes in lengths.items()},
    }
    for code, places in found.items():
        for role, rows in places.items():
            examples = rows[: ctx.limits.max_examples_per_issue].tolist()
            texts = ctx.staged.cells(role, set(examples))
            for row in examples:
                value = f"{lengths[role][row]:,} characters: {texts[row]}"
                ctx.issues.add(code, "info", line=int(lines[row]), column=columns[role], value=value, count=0)
        # A row counts once, whichever of its texts it is.
        together = np.unique(np.concatenate(list(places.values())))
        if len(together):
            ctx.issues.add(code, "info", count=len(together))
            ctx.findings.extend(together, code)
