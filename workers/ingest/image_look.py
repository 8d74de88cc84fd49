"""What a decoded image looks like, from a thumbnail of it: colour, orientation, frames, and a perceptual hash."""

from array import array
from contextlib import suppress
from enum import IntFlag
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Hashes = npt.NDArray[np.uint64]
Pixels = npt.NDArray[np.uint8]
# int16 [3, pixels].
Bands = npt.NDArray[np.int16]
# The thumbnail that is hashed, and the one that is kept for comparing.
_SIDE: Final = 32
_KEPT_SIDE: Final = 16
# A large image is looked at in a grid of points, at least so many on each side: 36 or more in a pixel of the thumbnail.
# With fewer of them, copies of another size are less alike.
_POINTS: Final = 192
# In numbers from 0 to 255: what JPEG makes of equal channels, and what noise makes of one colour.
_ALIKE: Final = 8
_DETAIL: Final = 256
# What a JPEG is decoded to at least, each side, if it has as much: three or more of its pixels, each the mean of a
# square, in one of the thumbnail.
_LOOKED_AT: Final = 96
# Modes that Pillow scales as they are.
_SCALED: Final = ("L", "LA", "RGB", "RGBA", "CMYK")
_ORIENTATION: Final = 0x0112
_BATCH: Final = 512


class Trait(IntFlag):
    """What may be said of an image. `GREY`: it has no colours; `GREY_IN_COLOUR`: and is stored as if it had."""

    NONE = 0
    ANIMATED = 1
    CMYK = 2
    ROTATED = 4
    GREY = 8
    GREY_IN_COLOUR = 16
    BLANK = 32


class Look(NamedTuple):
    """Traits, and the thumbnail: 32 × 32 pixels of grey, a byte each."""

    traits: Trait
    thumbnail: bytes


def reduce(image: Image.Image) -> None:
    """Let an image that is opened be decoded smaller where that is quicker, and yet large enough to be looked at.

    Of a JPEG, which can be, all is read and found damaged as before; only fewer pixels are made of it.
    """
    image.draft(None, (_LOOKED_AT, _LOOKED_AT))


def look(image: Image.Image) -> Look:
    """Look at an image that is decoded. Takes a small part of the time that decoding does."""
    small = _small(image)
    bands = _bands(small.tobytes())
    traits = Trait.NONE
    # The thumbnail says no to most; the others are asked in more detail.
    if _is_blank(bands) and _is_blank(_detail(image)):
        traits |= Trait.BLANK
    elif image.mode in ("1", "L", "LA") or image.mode.startswith("I"):
        traits |= Trait.GREY
    elif _is_grey(bands) and _is_grey(_detail(image)):
        traits |= Trait.GREY if image.mode == "P" else Trait.GREY | Trait.GREY_IN_COLOUR
    if image.mode == "CMYK":
        traits |= Trait.CMYK
    # Asking a damaged file for its second frame or its EXIF data may fail; its first frame is good.
    with suppress(OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError):
        if getattr(image, "is_animated", False):
            traits |= Trait.ANIMATED
        if "exif" in image.info and image.getexif().get(_ORIENTATION, 1) in range(2, 9):
            traits |= Trait.ROTATED
    return Look(traits, small.convert("L").tobytes())


def _small(image: Image.Image) -> Image.Image:
    """RGB, 32 × 32."""
    image = _scalable(image)
    points = (image.width // max(1, image.width // _POINTS), image.height // max(1, image.height // _POINTS))
    if points != image.size:
        image = image.resize(points, Image.Resampling.NEAREST)
    return _flat(image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=1.5))


def _detail(image: Image.Image) -> Bands:
    """Smaller by whole factors, each side still at least 256 pixels if it had them."""
    factors = max(1, image.width // _DETAIL), max(1, image.height // _DETAIL)
    image = _scalable(image)
    return _bands(_flat(image.reduce(factors) if max(factors) > 1 else image).tobytes())


def _bands(pixels: bytes) -> Bands:
    """Red, green and blue of an RGB image."""
    return np.frombuffer(pixels, np.uint8).reshape(-1, 3).T.astype(np.int16, order="C")


def _scalable(image: Image.Image) -> Image.Image:
    return image if image.mode in _SCALED else _flat(image)


def _flat(image: Image.Image) -> Image.Image:
    """RGB, transparency on white."""
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode.startswith(("I", "F")):
        # Of 16 bits a pixel the upper ones.
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_grey(bands: Bands) -> bool:
    return bool((np.abs(bands[::2] - bands[1]) <= _ALIKE).all())


def _is_blank(bands: Bands) -> bool:
    return bool((bands.max(axis=1) - bands.min(axis=1) <= _ALIKE).all())


class Looks:
    """What is kept of each image's look: traits, perceptual hash and a smaller thumbnail, 265 bytes each."""

    def __init__(self) -> None:
        self._traits = array("B")
        self._hashes = array("Q")
        self._grey = bytearray()
        self._waiting: list[bytes] = []

    def add(self, look: Look) -> None:
        """One more image."""
        self._traits.append(look.traits)
        self._waiting.append(look.thumbnail)
        if len(self._waiting) >= _BATCH:
            self._settle()

    def _settle(self) -> None:
        grey = np.frombuffer(b"".join(self._waiting), np.uint8).reshape(-1, _SIDE, _SIDE)
        self._waiting = []
        self._hashes.frombytes(perceptual(grey).tobytes())
        wide = grey.astype(np.uint16)
        rows = wide[:, ::2] + wide[:, 1::2]
        self._grey += ((rows[:, :, ::2] + rows[:, :, 1::2]) >> 2).astype(np.uint8).tobytes()

    @property
    def traits(self) -> Pixels:
        """Of each image the sum of its traits."""
        return np.frombuffer(self._traits, np.uint8)

    @property
    def hashes(self) -> Hashes:
        """Of each image the perceptual hash."""
        self._settle()
        return np.frombuffer(self._hashes, np.uint64)

    @property
    def grey(self) -> Pixels:
        """uint8 [images, 256]."""
        self._settle()
        return np.frombuffer(self._grey, np.uint8).reshape(-1, _KEPT_SIDE**2)


def perceptual(grey: Pixels) -> Hashes:
    """pHash of images, uint8 [images, 32, 32]: which of the 64 lowest frequencies of the cosine transform are above
    their median (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions")."""
    low = (_cosines() @ grey.astype(np.float32) @ _cosines().T).reshape(-1, 64)
    bits = low > np.median(low, axis=1, keepdims=True) if len(low) else low > 0
    return np.packbits(bits, axis=1).view(np.uint64).reshape(-1)


@cache
def _cosines() -> npt.NDArray[np.float32]:
    """float32 [8, 32]: the first eight waves of the cosine transform."""
    wave, place = np.mgrid[0:8, 0:_SIDE]
    waves: npt.NDArray[np.float32] = np.cos(np.pi * wave * (2 * place + 1) / (2 * _SIDE)).astype(np.float32)
    return waves
