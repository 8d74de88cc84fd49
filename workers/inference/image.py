"""Image → label."""

import argparse
import base64
import binascii
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workers.inference.core import Bundle, InputError, LabelPredictor

MAX_IMAGE_PIXELS = 50_000_000
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# The brands of ISO 14496-12 files that are photos, of HEIF (ISO 23008-12) and AVIF; others are films.
_PHOTOS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}


class Scaling(NamedTuple):
    """How an image is brought to its size: stretched; or with `crop`, that share of the middle, in proportion.

    `resample` is Pillow's name of the filter."""

    crop: float | None = None
    resample: str = "bicubic"


STRETCHED = Scaling()


class ImageLabels(LabelPredictor):
    """Image → label. An item is the decoded image, uint8 [height, width, 3], in the manifest's size."""

    input_name = "images"
    inputs_help = "image files"

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        settings = bundle.manifest["preprocessing"]
        self._size = (int(settings["height"]), int(settings["width"]))
        self._scaling = Scaling(settings.get("crop"), settings.get("resample", "bicubic"))

    def prepare(self, raw: Any, index: int = 0) -> np.ndarray:
        """The bytes of an image file, or {"image": those bytes in base64}."""
        if isinstance(raw, dict) and set(raw) == {"image"}:
            raw = raw["image"]
        if isinstance(raw, str):
            # A data URL is what browsers make of a file.
            encoded = raw.partition(",")[2] if raw.startswith("data:") else raw
            try:
                raw = base64.b64decode("".join(encoded.split()), validate=True)
            except (binascii.Error, ValueError):
                raise InputError(index, "The image is not valid base64.") from None
        if not isinstance(raw, bytes):
            raise InputError(index, 'An image is expected: the file itself, or {"image": base64}.')
        return decode_image(raw, self._size, index, self._scaling)

    def batch(self, items: Sequence[Any]) -> np.ndarray:
        """Pixels, uint8 [items, height, width, 3]."""
        return np.stack(items)

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """Each argument is the path of an image file."""
        return [Path(name).read_bytes() for name in arguments.inputs]


def decode_image(data: bytes, size: tuple[int, int], index: int = 0, scaling: Scaling = STRETCHED) -> np.ndarray:
    """An encoded image as uint8 [height, width, 3], scaled to `size` (height, width). Raises InputError.

    The first frame counts; the camera's orientation is applied; transparent parts become white; grey and palette images
    become RGB. Training reads its images with this very function.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    height, width = size
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise InputError(index, f"The image has more than {MAX_IMAGE_PIXELS:,} pixels.")
            # JPEG decodes at 1/2, 1/4 or 1/8 almost for free; twice the wanted size keeps the resize sharp.
            image.draft("RGB", (2 * width, 2 * height))
            image.load()
            upright = _to_rgb(ImageOps.exif_transpose(image))
            box = _middle(upright.size, (width, height), scaling.crop) if scaling.crop else None
            how = Image.Resampling[scaling.resample.upper()]
            gap = None if how is Image.Resampling.NEAREST else 3.0
            return np.asarray(upright.resize((width, height), how, box=box, reducing_gap=gap), dtype=np.uint8)
    except InputError:
        raise
    except UnidentifiedImageError:
        message = f"The file is not an image in one of the formats {', '.join(IMAGE_FORMATS)}."
        if photo := photo_format(data):
            message = f"The photo is in the format {photo}, as telephones take them: save it as JPEG."
        raise InputError(index, message) from None
    except Exception as error:
        # Pillow's decoders raise almost anything on damaged files: OSError, SyntaxError, struct.error, IndexError, ...
        raise InputError(index, f"The image cannot be decoded: {error}"[:200]) from None


def photo_format(data: bytes) -> str:
    """HEIC or AVIF, if that is what the file begins as; else ""."""
    return _PHOTOS.get(data[8:12], "") if data[4:8] == b"ftyp" else ""


def _middle(seen: tuple[int, int], wanted: tuple[int, int], share: float) -> tuple[float, float, float, float]:
    """The box of the proportions of `wanted` in the middle of an image: `share` of the largest that fits into it."""
    scale = min(seen[0] / wanted[0], seen[1] / wanted[1]) * share
    width, height = wanted[0] * scale, wanted[1] * scale
    left, top = (seen[0] - width) / 2, (seen[1] - height) / 2
    return left, top, left + width, top + height


def _to_rgb(image: Any) -> Any:
    """Any mode of Pillow as RGB, on white where the image is transparent."""
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        # 16-bit grey: convert("L") would clip everything above 255 to white.
        values = np.asarray(image, dtype=np.float32)
        scale = 255.0 / max(float(values.max(initial=0.0)), 255.0) if image.mode != "I;16" else 255.0 / 65535.0
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")
