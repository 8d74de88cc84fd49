"""Looking into data: rows of a version, an image of a row, the head of an upload."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from apps.core.artifacts import storage
from apps.datasets.models import DatasetVersion, Kind, Upload
from apps.datasets.uploads import ensure_stored
from workers.contracts.errors import UserError
from workers.contracts.job import DatasetKind
from workers.ingest import rows
from workers.ingest.export import csv_of, zip_of
from workers.ingest.preview import HEAD_BYTES, needs_whole, preview_in_child

ROWS_PER_PAGE: Final = 50
IMAGE_SIZES: Final = {"128": 128, "512": 512, "full": 4096}
# What a Parquet file or a spreadsheet holds stands at its end: it is looked into whole, or not at all.
_LARGEST_WHOLE: Final = 64 << 20


class RowPage(NamedTuple):
    """One page of the rows that match; `page` counts from 1 to `pages`."""

    rows: list[dict[str, Any]]
    total: int
    page: int
    pages: int


def page_rows(
    version: DatasetVersion,
    q: str = "",
    label: str = "",
    split: str = "",
    page: int = 1,
    page_size: int = ROWS_PER_PAGE,
) -> RowPage:
    """Rows of a version whose text contains `q` and whose label and split are these.

    A row is {"row", "split", …} with the columns of its kind (see workers.contracts.manifest.IngestResult), no images.
    Raises UserError `dataset_not_ready`.
    """
    _check_ready(version)
    kind = cast(DatasetKind, version.dataset.kind)
    with storage().open(version.data_key) as file:
        found = rows.read_page(file, kind, q=q, label=label, split=split, page=page, page_size=page_size)
    total = int(found["total"])
    return RowPage(found["rows"], total, page, max(1, -(-total // page_size)))


def row_image(version: DatasetVersion, row: int, size: int = 128) -> tuple[bytes, str]:
    """The image of a row, drawn anew, with its media type. Raises UserError `not_found`, `dataset_not_ready`."""
    _check_ready(version)
    if version.dataset.kind != Kind.IMAGE or not 0 <= row < version.rows:
        raise UserError("not_found")
    with storage().open(version.data_key) as file:
        data = rows.read_image(file, row)
    return rows.thumbnail(data, size)


def export(version: DatasetVersion) -> tuple[Iterator[bytes], str]:
    """A version as one file that imports again to the same rows, piece by piece, and its ending: csv, or zip of images.

    Raises UserError `dataset_not_ready`.
    """
    _check_ready(version)
    is_zip = version.dataset.kind == Kind.IMAGE
    return _pieces(version, zip_of if is_zip else csv_of), "zip" if is_zip else "csv"


def _pieces(version: DatasetVersion, write: Callable[[BinaryIO], Iterator[bytes]]) -> Iterator[bytes]:
    with storage().open(version.data_key) as file:
        yield from write(file)


def preview(upload: Upload) -> dict[str, Any]:
    """The first rows of an upload and what its columns may be (see workers.ingest.preview).

    Looked at by a process with bounded memory and time. Raises UserError of what is wrong with the file.
    """
    ensure_stored(upload)
    with storage().open(upload.key) as file:
        head = file.read(HEAD_BYTES)
    if not needs_whole(head) or upload.size > _LARGEST_WHOLE:
        return preview_in_child(head, upload.filename)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        storage().get_file(upload.key, path)
        return preview_in_child(path, upload.filename)


def _check_ready(version: DatasetVersion) -> None:
    if version.state != DatasetVersion.State.READY:
        raise UserError("dataset_not_ready")
