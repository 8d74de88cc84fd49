"""Pages of a version's rows for the row browser, straight out of data.parquet; images only when one is asked for.

Reads only files that an import of ours has written. `source` is a path or an open, seekable file of any store.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from workers.contracts.job import DatasetKind
from workers.ingest.images import FORMATS, magic

Source = str | Path | BinaryIO
MAX_PAGE_SIZE = 200
_SEARCHED: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": ("name",),
    "recommendation": ("user", "item"),
    "tabular": ("values",),
}
_CELL_CHARS = 2000


def read_page(
    source: Source,
    kind: DatasetKind,
    q: str = "",
    label: str = "",
    split: str = "",
    page: int = 1,
    page_size: int = 50,
) -> dict[str, Any]:
    """{"rows": [{column: value}], "total"}: one page of the rows that match, in order; `page` counts from 1.

    `q` is looked for in the text, the image's name, the user and item, or any cell of a table, without regard to
    case; `label` (of several, one) and `split` must be equal. Without conditions only the page's row groups are
    read; with them the columns that they are about, group by group. Texts are cut at 2,000 characters.
    """
    page_size = max(1, min(page_size, MAX_PAGE_SIZE))
    first = (max(1, page) - 1) * page_size
    with pq.ParquetFile(source, pre_buffer=False) as file:
        shown = [name for name in file.schema_arrow.names if name not in ("image", "hash")]
        if not (q or label or split):
            rows = [row for table in _slices(file, shown, first, page_size) for row in table.to_pylist()]
            return {"rows": _shorten(rows), "total": file.metadata.num_rows}
        rows, total = [], 0
        for index in range(file.metadata.num_row_groups):
            matches = _matches(file, index, kind, q, label, split)
            wanted = matches[max(0, first - total) : max(0, first + page_size - total)]
            if len(wanted):
                rows += file.read_row_group(index, columns=shown, use_threads=False).take(wanted).to_pylist()
            total += len(matches)
        return {"rows": _shorten(rows), "total": total}


def _slices(file: pq.ParquetFile, columns: list[str], first: int, count: int) -> Iterator[pa.Table]:
    start = 0
    for index in range(file.metadata.num_row_groups):
        length = file.metadata.row_group(index).num_rows
        here, until = max(first, start), min(first + count, start + length)
        if here < until:
            table = file.read_row_group(index, columns=columns, use_threads=False)
            yield table.slice(here - start, until - here)
        start += length


def _matches(file: pq.ParquetFile, index: int, kind: str, q: str, label: str, split: str) -> pa.Array:
    """Places in a row group that meet the conditions."""
    equal = {"label": label, "split": split}
    # Of several labels one has to be this.
    of_several = bool(label) and "labels" in file.schema_arrow.names
    if of_several:
        del equal["label"]
    columns = [name for name, value in equal.items() if value and name in file.schema_arrow.names]
    searched = _SEARCHED[kind] if q else ()
    table = file.read_row_group(
        index, columns=[*columns, *searched, *(["labels"] if of_several else [])], use_threads=False
    )
    keep: Any = pa.array([True] * table.num_rows)
    for name in columns:
        keep = pc.and_(keep, pc.equal(table[name], equal[name]))
    if of_several:
        found_in = pc.equal(pc.list_flatten(table["labels"]), label)
        rows = pc.unique(pc.list_parent_indices(table["labels"]).filter(found_in))
        keep = pc.and_(keep, pc.is_in(pa.array(range(table.num_rows)), rows.cast(pa.int64())))
    if searched:
        found: Any = pa.array([False] * table.num_rows)
        for name in searched:
            # The values of a table's row are many columns.
            whole = table[name]
            for texts in whole.flatten() if pa.types.is_struct(whole.type) else [whole]:
                found = pc.or_(found, pc.match_substring(texts, q, ignore_case=True))
        keep = pc.and_(keep, found)
    return pc.indices_nonzero(keep)


def _shorten(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        for name, value in row.items():
            if isinstance(value, dict):
                _shorten([value])
            if isinstance(value, str) and len(value) > _CELL_CHARS:
                row[name] = value[:_CELL_CHARS] + "…"
    return rows


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
