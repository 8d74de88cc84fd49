"""Looking into data: rows of a version, an image of a row, the head of an upload."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from django.http import HttpRequest, HttpResponse

from apps.core.artifacts import storage
from apps.core.local_cache import local_cache
from apps.datasets.models import DatasetVersion, Kind, Upload
from apps.datasets.uploads import ensure_stored
from workers.contracts.errors import UserError
from workers.contracts.job import GUESSED, DatasetKind, FileOptions
from workers.ingest import index, rows, thumbnails
from workers.ingest.export import csv_of, parquet_of, zip_of
from workers.ingest.preview import HEAD_BYTES, needs_whole, preview_in_child
from workers.ingest.rows import Where

ROWS_PER_PAGE: Final = 50
ANY: Final = Where()
_INDEX: Final = f"index {index.VERSION}"
IMAGE_SIZES: Final = {"128": 128, "256": 256, "512": 512, "full": 4096}
# An image of 50 million pixels takes hundreds of megabytes while it is drawn anew: so many at once in a process.
DRAWN_AT_ONCE: Final = 2
_drawing = threading.BoundedSemaphore(DRAWN_AT_ONCE)
# What a Parquet file or a spreadsheet holds stands at its end: it is looked into whole, or not at all.
_LARGEST_WHOLE: Final = 64 << 20


class RowPage(NamedTuple):
    """One page of the rows that match; `page` counts from 1 to `pages`."""

    rows: list[dict[str, Any]]
    total: int
    page: int
    pages: int


def page_rows(version: DatasetVersion, where: Where = ANY, page: int = 1, page_size: int = ROWS_PER_PAGE) -> RowPage:
    """Rows of a version that meet the conditions.

    A row is {"row", "split", …} with the columns of its kind (see workers.contracts.manifest.IngestResult), no images,
    and what a model says of it (see workers.ingest.rows.read). Raises UserError `dataset_not_ready`.
    """
    check_ready(version)
    first = (page - 1) * page_size
    if where == ANY and not version.suspects_key and not local_cache().find(version.data_key, _INDEX):
        # A look at rows as they are stored does not wait until they can be searched.
        with storage().open(version.data_key) as file:
            found, total = rows.read_stored(file, first, page_size), version.rows
    else:
        files = _files(version)
        numbers = rows.find(files, where)
        found, total = rows.read(files, numbers[first : first + page_size]), len(numbers)
    return RowPage(found, total, page, max(1, -(-total // page_size)))


def matching(version: DatasetVersion, where: Where, most: int) -> list[dict[str, Any]]:
    """All rows that meet the conditions, as `page_rows` gives them. Raises UserError `invalid` for more than `most`."""
    check_ready(version)
    files = _files(version)
    numbers = rows.find(files, where)
    if len(numbers) > most:
        raise UserError("invalid", f"{len(numbers):,} rows match; at most {most:,} can be changed at once.")
    return rows.read(files, numbers)


def issue_counts(version: DatasetVersion) -> dict[str, int]:
    """How many rows of a version the data doctor has a finding about, by its code."""
    return rows.counts(_about(version.findings_key)) if version.findings_key else {}


def _files(version: DatasetVersion) -> rows.Files:
    """The files that the row browser reads, on this machine; made at the first look that needs them."""
    kind = cast(DatasetKind, version.dataset.kind)

    def write(path: Path) -> None:
        with storage().open(version.data_key) as file:
            index.write(file, kind, path)

    return rows.Files(
        local_cache().file(version.data_key, _INDEX, write),
        _about(version.findings_key) if version.findings_key else None,
        _about(version.suspects_key) if version.suspects_key else None,
    )


def _about(key: str) -> Path:
    def write(path: Path) -> None:
        with storage().open(key) as file:
            index.write_small(file, path)

    return local_cache().file(key, f"about {index.VERSION}", write)


def row_image(version: DatasetVersion, row: int, size: int = 128) -> tuple[bytes, str]:
    """The image of a row, drawn anew once and then kept, with its media type.

    Raises UserError `not_found`, `dataset_not_ready`.
    """
    check_ready(version)
    if version.dataset.kind != Kind.IMAGE or not 0 <= row < version.rows:
        raise UserError("not_found")

    def write(path: Path) -> None:
        with storage().open(version.data_key) as file:
            data = thumbnails.read_image(file, row)
        with _drawing:
            path.write_bytes(thumbnails.thumbnail(data, size)[0])

    data = local_cache().file(version.data_key, f"image {size} {row}", write).read_bytes()
    return data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


def image_answer(request: HttpRequest, version: DatasetVersion, row: int, size: str) -> HttpResponse:
    """The image of a row, for the browser to keep. Raises UserError as `row_image`, and `invalid` for a size."""
    pixels = IMAGE_SIZES.get(size)
    if pixels is None:
        raise UserError("invalid", fields=[{"field": "size", "message": f"one of {', '.join(IMAGE_SIZES)}"}])
    etag = f'"{version.pk}-{row}-{size}"'
    # A version never changes, so its images may stay, in this user's browser alone.
    headers = {"ETag": etag, "Cache-Control": "private, max-age=86400, immutable"}
    check_ready(version)
    if 0 <= row < version.rows and etag in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304, headers=headers)
    data, media_type = row_image(version, row, pixels)
    headers |= {"Content-Security-Policy": "sandbox; default-src 'none'", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(data, content_type=media_type, headers=headers)


def export(version: DatasetVersion, format: str = "") -> tuple[Iterator[bytes], str]:
    """A version as one file that imports again to the same rows, piece by piece, and its ending: by itself csv, or zip
    of images; `format` "parquet" for anything.

    Raises UserError `dataset_not_ready`.
    """
    check_ready(version)
    if format == "parquet":
        return _pieces(version, parquet_of), "parquet"
    is_zip = version.dataset.kind == Kind.IMAGE
    return _pieces(version, zip_of if is_zip else csv_of), "zip" if is_zip else "csv"


def _pieces(version: DatasetVersion, write: Callable[[BinaryIO], Iterator[bytes]]) -> Iterator[bytes]:
    with storage().open(version.data_key) as file:
        yield from write(file)


def preview(upload: Upload, options: FileOptions = GUESSED) -> dict[str, Any]:
    """The first rows of an upload and what its columns may be (see workers.ingest.preview).

    Looked at by a process with bounded memory and time. Raises UserError of what is wrong with the file.
    """
    ensure_stored(upload)
    with storage().open(upload.key) as file:
        head = file.read(HEAD_BYTES)
    if not needs_whole(head) or upload.size > _LARGEST_WHOLE:
        return preview_in_child(head, upload.filename, options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        storage().get_file(upload.key, path)
        return preview_in_child(path, upload.filename, options)


def check_ready(version: DatasetVersion) -> None:
    """Raises UserError `dataset_not_ready`."""
    if version.state != DatasetVersion.State.READY:
        raise UserError("dataset_not_ready")
