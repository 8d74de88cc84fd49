"""Images of a version for the row browser: one out of data.parquet, drawn anew at any size."""

import io
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq
from PIL import Image, ImageOps

from workers.ingest.images import FORMATS, magic

Source = str | Path | BinaryIO


def read_image(source: Source, row: int) -> bytes:
    """The encoded image of a row, as it was uploaded. Raises IndexError where there is no such row."""
    with pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 18) as file:
        start = 0
        for index in range(file.metadata.num_row_groups):
            length = file.metadata.row_group(index).num_rows
            if start <= row < start + length:
                left = row - start
                for batch in file.iter_batches(16, row_groups=[index], columns=["image"], use_threads=False):
                    if left < batch.num_rows:
                        return bytes(batch.column(0)[left].as_py())
                    left -= batch.num_rows
            start += length
    raise IndexError(f"there is no row {row}")


def thumbnail(data: bytes, size: int = 128, max_pixels: int = 50_000_000) -> tuple[bytes, str]:
    """The image drawn anew, at most `size` pixels on a side and upright: (bytes, media type).

    JPEG, or PNG where it has transparency. What reaches a browser is always a raster of ours, never the uploaded file.
    Raises ValueError for what is no image.
    """
    format = magic(data)
    if format is None or format not in FORMATS:
        raise ValueError("not an image")
    try:
        with Image.open(io.BytesIO(data), formats=(format,)) as image:
            if image.width * image.height > max_pixels:
                raise ValueError("too many pixels")
            image.draft("RGB", (size, size))
            upright = ImageOps.exif_transpose(image)
            clear = "A" in upright.getbands() or "transparency" in upright.info
            small = upright.convert("RGBA" if clear else "RGB")
            small.thumbnail((size, size))
            out = io.BytesIO()
            small.save(out, "PNG" if clear else "JPEG", quality=85)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("the image cannot be decoded") from error
    return out.getvalue(), "image/png" if clear else "image/jpeg"
