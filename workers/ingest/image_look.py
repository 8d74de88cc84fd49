"""What decoded images look like, from thumbnails of them: colour, orientation, frames, and a perceptual hash."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import IntFlag
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

Hashes = npt.NDArray[np.uint64]
Pixels = npt.NDArray[np.uint8]
# The thumbnail that is hashed, and the one that is kept for comparing.
_HASHED: Final = 32
SIDE: Final = 16
# What an image is looked at in has at least so many pixels on each side, if the image has; each is the mean of a
# rectangle. A JPEG is decoded to fewer: that saves half of its time, and copies of other sizes are found as well.
_LOOKED_AT: Final = 96
_DECODED: Final = 48
# In numbers from 0 to 255: what JPEG makes of equal channels, and what noise makes of one colour.
_ALIKE: Final = 8
# Modes that Pillow reduces as they are.
_REDUCED: Final = ("L", "LA", "RGB", "RGBA", "CMYK")
_ORIENTATION: Final = 0x0112


class Trait(IntFlag):
    """What may be said of an image. `GREY`: it has no colours; `GREY_IN_COLOUR`: and is stored as if it had."""

    NONE = 0
    ANIMATED = 1
    CMYK = 2
    ROTATED = 4
    GREY = 8
    GREY_IN_COLOUR = 16
    BLANK = 32


_GREY_OF_THREE: Final = Trait.GREY | Trait.GREY_IN_COLOUR


class Seen(NamedTuple):
    """One image as it is looked at: what its file says, what is true if it has no colours, and a small picture of it,
    "L" or "RGB"."""

    traits: Trait
    if_grey: Trait
    picture: Image.Image


class Looks(NamedTuple):
    """What is kept of images: traits, uint8 [images]; perceptual hashes of them and of their mirror images, uint64
    [images]; smaller thumbnails, uint8 [images, 256]."""

    traits: Pixels
    hashes: Hashes
    mirrored: Hashes
    grey: Pixels

    def at(self, rows: npt.NDArray[Any]) -> "Looks":
        """Those of some images, by number or as a mask."""
        return Looks(self.traits[rows], self.hashes[rows], self.mirrored[rows], self.grey[rows])


def joined(parts: Iterable[Looks]) -> Looks:
    """The looks of all images, in order."""
    traits, hashes, mirrored, grey = zip(nothing(), *parts, strict=True)
    return Looks(np.concatenate(traits), np.concatenate(hashes), np.concatenate(mirrored), np.concatenate(grey))


class Known(NamedTuple):
    """What an import knows of an image from an earlier one: what its row says, and where in those of its version its
    looks are."""

    digest: str
    format: str
    width: int
    height: int
    looks: Looks
    row: int


def nothing() -> Looks:
    """The looks of no images."""
    none = np.empty(0, np.uint64)
    return Looks(np.empty(0, np.uint8), none, none, np.empty((0, SIDE**2), np.uint8))


def decode_small(image: Image.Image) -> None:
    """Let an image that is opened be decoded smaller where that is quicker, and yet large enough to be looked at.

    All of a JPEG is read, and found damaged, as it would be; only fewer pixels are made of it.
    """
    image.draft(None, (_DECODED, _DECODED))


def see(image: Image.Image) -> Seen:
    """Look at an image that is decoded."""
    traits = Trait.CMYK if image.mode == "CMYK" else Trait.NONE
    # Asking a damaged file for its second frame or its EXIF data may fail; its first frame is good.
    with suppress(OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError):
        if getattr(image, "is_animated", False):
            traits |= Trait.ANIMATED
        if "exif" in image.info and image.getexif().get(_ORIENTATION, 1) in range(2, 9):
            traits |= Trait.ROTATED
    stored_grey = image.mode in ("1", "L", "LA", "P") or image.mode.startswith("I")
    return Seen(traits, Trait.GREY if stored_grey else _GREY_OF_THREE, _picture(image))


def _picture(image: Image.Image) -> Image.Image:
    """The image by whole factors smaller, "L" or "RGB"."""
    image = image if image.mode in _REDUCED else _flat(image)
    factors = max(1, image.width // _LOOKED_AT), max(1, image.height // _LOOKED_AT)
    return _flat(image.reduce(factors) if max(factors) > 1 else image)


def _flat(image: Image.Image) -> Image.Image:
    """Transparency on white; "L" or "RGB"."""
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode.startswith(("I", "F")):
        # Of 16 bits a pixel the upper ones.
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def look(images: Sequence[Seen]) -> Looks:
    """Look at some images together, which takes a small part of the time that decoding them did."""
    if not images:
        return nothing()
    # All thumbnails on one sheet: handing over each by itself takes longer than making it.
    sheet = Image.new("RGB", (_HASHED, _HASHED * len(images)))
    for place, image in enumerate(images):
        sheet.paste(image.picture.resize((_HASHED, _HASHED), Image.Resampling.BILINEAR), (0, _HASHED * place))
    grey = _pixels(sheet.convert("L"))
    wide = grey.astype(np.uint16)
    rows = wide[:, ::2] + wide[:, 1::2]
    kept = ((rows[:, :, ::2] + rows[:, :, 1::2]) // 4).astype(np.uint8)
    return Looks(_traits(images, sheet), *perceptual(grey), kept.reshape(-1, SIDE**2))


def _pixels(sheet: Image.Image) -> Pixels:
    return np.frombuffer(sheet.tobytes(), np.uint8).reshape(-1, _HASHED, _HASHED)


def _traits(images: Sequence[Seen], sheet: Image.Image) -> Pixels:
    """The thumbnails say no to most; the pictures of the others are asked."""
    bands = sheet.split()
    red, green, blue = bands
    blank = np.logical_and.reduce([_alike(_pixels(band)) for band in bands])
    differences = (ImageChops.difference(other, green) for other in (red, blue))
    grey = np.logical_and.reduce([_pixels(one).reshape(len(images), -1).max(axis=1) <= _ALIKE for one in differences])
    traits = np.array([image.traits for image in images], np.uint8)
    for place in np.flatnonzero(blank | grey).tolist():
        image = images[place]
        if blank[place] and _is_blank(image.picture):
            traits[place] |= Trait.BLANK
        elif grey[place] and _is_grey(image.picture):
            traits[place] |= image.if_grey
    return traits


def _alike(band: Pixels) -> npt.NDArray[np.bool_]:
    """Of each thumbnail whether one of its bands is of nearly one brightness."""
    alike: npt.NDArray[np.bool_] = np.ptp(band.reshape(len(band), -1), axis=1) <= _ALIKE
    return alike


def _is_blank(picture: Image.Image) -> bool:
    ranges = (band.getextrema() for band in picture.split())
    return all(high - low <= _ALIKE for low, high in ranges)  # type: ignore[operator]


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode == "L":
        return True
    red, green, blue = picture.split()
    differences = (ImageChops.difference(other, green).getextrema() for other in (red, blue))
    return all(most <= _ALIKE for _, most in differences)  # type: ignore[operator]


def perceptual(grey: Pixels) -> tuple[Hashes, Hashes]:
    """pHash of images, uint8 [images, 32, 32], and of their mirror images: which of the 64 lowest frequencies of the
    cosine transform are above their median (Zauner 2010, "Implementation and benchmarking of perceptual image hash
    functions"). Mirroring turns the sign of every other frequency from left to right."""
    low = _cosines() @ grey.astype(np.float32) @ _cosines().T
    return _above_median(low), _above_median(low * np.array((1, -1) * 4, np.float32))


def _above_median(low: npt.NDArray[np.float32]) -> Hashes:
    low = low.reshape(-1, 64)
    ordered = np.sort(low, axis=1)
    bits = low > (ordered[:, 31:32] + ordered[:, 32:33]) / 2
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


@cache
def _cosines() -> npt.NDArray[np.float32]:
    """float32 [8, 32]: the first eight waves of the cosine transform."""
    wave, place = np.mgrid[0:8, 0:_HASHED]
    waves: npt.NDArray[np.float32] = np.cos(np.pi * wave * (2 * place + 1) / (2 * _HASHED)).astype(np.float32)
    return waves
