"""Images: told by their content, decoded fully once to be sure, kept as the bytes they came as."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from PIL import Image

from workers.inference.image import photo_format
from workers.ingest.image_look import Seen, decode_small, see
from workers.ingest.records import Problem

# Pillow format → the name in data.parquet. Decoders for anything else are never reached, whatever a file is called.
FORMATS: Final = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
# What Pillow's decoders raise on damaged files, by reading their code and by fuzzing.
_DAMAGED: Final = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError)
_MESSAGES_OF_TRUNCATION: Final = (
    "truncat",
    "not processed",
    "incomplete",
    "unexpected end",
    "premature",
    "broken data",
)


class Decoded(NamedTuple):
    """What an image turned out to be; width and height in pixels as stored, before any EXIF rotation; what it looks
    like."""

    format: str
    width: int
    height: int
    seen: Seen


def magic(data: bytes) -> str | None:
    """The Pillow format that the first bytes promise, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "BMP" if data.startswith(b"BM") and len(data) > 26 else None


# What else is found among photos, by its first bytes.
_OTHERS = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL": "JPEG XL",
}


@contextmanager
def without_warnings() -> Iterator[None]:
    """Pillow warns of large images and odd ones; the limits here are ours. For a whole process, not for each thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(data: bytes, max_pixels: int) -> Decoded | Problem:
    """Decode an image whole (of a GIF the first frame), the number of pixels checked before a single one is made."""
    format = magic(data)
    if format is None:
        return Problem("image_format", "The file is not a JPEG, PNG, WebP, GIF or BMP image.", value=_named(data))
    opened = format == "WEBP"  # Its decoder works while opening.
    try:
        with Image.open(io.BytesIO(data), formats=(format,)) as image:
            opened = True
            width, height = image.size
            if width * height > max_pixels:
                message = f"The image has {width} × {height} pixels; {max_pixels:,} are allowed."
                return Problem("image_too_large", message)
            decode_small(image)
            image.load()
            seen = see(image)
    except Image.DecompressionBombError:
        return Problem("image_too_large", "The image has far more pixels than allowed.")
    except MemoryError:
        return Problem("image_too_large", "Decoding the image takes more memory than an import may use.")
    except _DAMAGED as error:
        text = str(error).lower()
        if opened and (any(word in text for word in _MESSAGES_OF_TRUNCATION) or _ends_early(data, format)):
            return Problem("image_truncated", "The image ends too early.")
        return Problem("image_unreadable", "The image cannot be decoded.", value=str(error)[:200])
    return Decoded(FORMATS[format], width, height, seen)


def _named(data: bytes) -> str:
    """What a file that is none of the formats is, in words; its first bytes where that is not known."""
    if data[4:8] == b"ftyp":
        return photo_format(data) or "a film"
    found = (name for mark, name in _OTHERS.items() if data.startswith(mark))
    if name := next(found, None):
        return name
    start = data[:64]
    is_text = start.isascii() and all(char.isprintable() or char.isspace() for char in start.decode("ascii"))
    return "text" if is_text else data[:16].hex(" ")


def _ends_early(data: bytes, format: str) -> bool:
    """Whether the format's own end mark, or announced length, is missing."""
    if format == "PNG":
        return b"IEND" not in data[-16:]
    if format == "JPEG":
        return b"\xff\xd9" not in data[-64:]
    if format == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return format == "BMP" and int.from_bytes(data[2:6], "little") > len(data)
