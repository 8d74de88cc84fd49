"""The images of an import: archives of them, or Parquet, by itself or in archives."""

from workers.contracts.manifest import IngestResult
from workers.ingest import sniff
from workers.ingest.archives import open_archive
from workers.ingest.archives.parquet_images import ParquetImages
from workers.ingest.context import Import
from workers.ingest.image_lists import Lists
from workers.ingest.joined_images import JoinedImages, named_folders, opened, parquet_in
from workers.ingest.kinds import images
from workers.ingest.unpack import File


def imported(ctx: Import) -> IngestResult:
    """A first version of images. Raises JobError."""
    files = of(ctx)
    lists = Lists(ctx.limits, ctx.spec.mapping)
    if len(files) > 1:
        with JoinedImages(opened(ctx, files, named_folders([file.name for file in files]), lists)) as archive:
            return images.run(ctx, archive, files[0].format, lists)
    if (rows := parquet_in(ctx, files[0])) is not None:
        with ParquetImages(rows, ctx.limits, lists) as archive:
            return images.run(ctx, archive, "parquet", lists)
    with open_archive(files[0].path, files[0].format, ctx.limits) as archive:
        return images.run(ctx, archive, files[0].format)


def of(ctx: Import) -> list[File]:
    """The files of the import, with their formats."""
    return [File(path, name, sniff.sniff(path, name)) for path, name in ctx.files]
