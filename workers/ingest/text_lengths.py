"""Texts that are far longer than the others, or hardly there."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from workers.ingest.coding import LineNumbers
from workers.ingest.context import Import
from workers.ingest.parquet_out import cells_at

# Models read the beginning of a text: of one that is so long, and so many times as long as half of them, little.
_LONG: Final = 5_000
_TIMES: Final = 20
_SHORT: Final = 2


def tell(ctx: Import, lengths: npt.NDArray[Any], lines: LineNumbers, column: str) -> None:
    """Tell of the staged texts, by their number of characters."""
    limit = max(_LONG, _TIMES * float(np.median(lengths)))
    for code, rows in (
        ("text_long", np.flatnonzero(lengths > limit)),
        ("text_short", np.flatnonzero(lengths <= _SHORT)),
    ):
        examples = rows[: ctx.limits.max_examples_per_issue].tolist()
        texts = cells_at(ctx.staged, "text", set(examples))
        for row in examples:
            value = f"{lengths[row]:,} characters: {texts[row]}"
            ctx.issues.add(code, "info", line=int(lines[row]), column=column, value=value, count=0)
        if len(rows):
            ctx.issues.add(code, "info", count=len(rows))
            ctx.findings.extend(rows, code)
