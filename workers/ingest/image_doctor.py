"""What the looks of all images tell: sizes, shapes and colours that a model may stumble over."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from workers.ingest.context import Import
from workers.ingest.image_look import Trait
from workers.ingest.issues import Severity
from workers.ingest.items import Items

_TINY: Final = 16
_HUGE: Final = 6000
_STRETCHED: Final = 4
# A class is mixed if so many of its images, and such a share, are grey, and as many are not.
_MIXED: Final = 3
_MIXED_SHARE: Final = 0.1
_OF_TRAIT: Final[tuple[tuple[str, Trait, Severity], ...]] = (
    ("image_blank", Trait.BLANK, "warning"),
    ("image_animated", Trait.ANIMATED, "info"),
    ("image_cmyk", Trait.CMYK, "info"),
    ("image_rotated", Trait.ROTATED, "info"),
    ("image_grey", Trait.GREY_IN_COLOUR, "info"),
)


class Images(NamedTuple):
    """The images of the version: their names in the archive, traits, widths and heights."""

    names: list[str]
    traits: npt.NDArray[np.uint8]
    widths: npt.NDArray[np.uint32]
    heights: npt.NDArray[np.uint32]


def tell(ctx: Import, images: Images, items: Items) -> None:
    """Tell what is odd, with the rows of each finding."""
    shorter, longer = np.minimum(images.widths, images.heights), np.maximum(images.widths, images.heights)
    sizes: tuple[tuple[str, npt.NDArray[np.bool_], Severity], ...] = (
        ("image_tiny", shorter < _TINY, "warning"),
        ("image_huge", longer > _HUGE, "info"),
        ("image_stretched", longer > _STRETCHED * shorter, "info"),
    )
    traits = ((code, (images.traits & trait) > 0, severity) for code, trait, severity in _OF_TRAIT)
    for code, found, severity in (*sizes, *traits):
        rows = np.flatnonzero(found)
        for row in rows[: ctx.limits.max_examples_per_issue].tolist():
            value = f"{images.names[row]}, {images.widths[row]} × {images.heights[row]}"
            ctx.issues.add(code, severity, line=int(items.lines[row]), value=value, count=0)
        if len(rows):
            ctx.issues.add(code, severity, count=len(rows))
            ctx.findings.extend(rows, code)
    _tell_mixed(ctx, (images.traits & Trait.GREY) > 0, items)


def _tell_mixed(ctx: Import, grey: npt.NDArray[np.bool_], items: Items) -> None:
    names, members = items.members()
    total = np.bincount(members.labels, minlength=len(names))
    without = np.bincount(members.labels[grey[members.rows]], minlength=len(names))
    fewer = np.minimum(without, total - without)
    for code in np.flatnonzero((fewer >= _MIXED) & (fewer >= _MIXED_SHARE * total)).tolist():
        row = members.rows[np.argmax(members.labels == code)]
        value = f"{names[code]}: {without[code]:,} grey, {total[code] - without[code]:,} in colour"
        ctx.issues.add("image_grey_mixed", "info", line=int(items.lines[row]), value=value)
