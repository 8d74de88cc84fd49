"""Archives of images, read entry by entry as streams; nothing is ever extracted to a path that an archive names.

The readers are our own and small, because Python's zipfile and tarfile differ in safety between the patch releases that
Slipway runs on (CVE-2024-0450, CVE-2025-8291, CVE-2025-4517): 3.11+ is all that is asked for.
"""

from pathlib import Path

from workers.contracts.job import IngestLimits
from workers.ingest.archives.entries import Archive
from workers.ingest.archives.tar_stream import TarArchive
from workers.ingest.archives.zip_file import ZipArchive


def open_archive(path: Path, format: str, limits: IngestLimits) -> Archive:
    """Open a zip, or a tar of any usual compression. Raises JobError archive_*."""
    return ZipArchive(path, limits) if format == "zip" else TarArchive(path, limits)
