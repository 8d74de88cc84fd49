"""One import from its job folder to its result."""

import json
from collections.abc import Callable
from contextlib import closing

from workers.contracts.errors import JobError
from workers.contracts.job import IngestSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.kinds import KINDS
from workers.contracts.manifest import IngestResult
from workers.ingest import correct, sniff, unpack
from workers.ingest.archives import open_archive
from workers.ingest.archives.parquet_images import ParquetImages
from workers.ingest.context import Import
from workers.ingest.image_lists import Lists
from workers.ingest.kinds import images, interactions, table, text
from workers.ingest.readers import open_table
from workers.ingest.readers.joined import JoinedTables
from workers.ingest.records import Table
from workers.ingest.unpack import File

# Who imports a table, by the kind of data in it. A new kind is a module and a line here.
_TABLES: dict[str, Callable[[Import, Table], IngestResult]] = {
    "text": text.run,
    "recommendation": interactions.run,
    "tabular": table.run,
}


def run(job_dir: JobDir) -> IngestResult:
    """Import `inputs/source` into `output/data.parquet` and `output/errors.csv`. Raises JobError."""
    spec = job_dir.spec().ingest
    if spec is None:
        raise ValueError("the spec is not one of an ingest job")
    with Import(job_dir, spec) as ctx:
        ctx.progress.report(0.0, "Opening the file", always=True)
        result = _correct(ctx) if spec.corrections else _import(ctx, spec)
        ctx.progress.report(1.0, "Done", always=True)
    return result


def _correct(ctx: Import) -> IngestResult:
    changes = json.loads((ctx.job_dir.inputs / "changes.json").read_bytes())
    return correct.run(ctx, correct.parse(changes))


def _import(ctx: Import, spec: IngestSpec) -> IngestResult:
    if KINDS[spec.kind].archive:
        return _import_images(ctx, File(ctx.source, spec.filename, sniff.sniff(ctx.source, spec.filename)))
    with closing(_table(ctx, unpack.unpacked(ctx))) as source:
        for name in source.facts.get("left_out", ()):
            ctx.issues.add("file_left_out", "warning", line=1, value=name)
        return _TABLES[spec.kind](ctx, source)


def _import_images(ctx: Import, file: File) -> IngestResult:
    """An archive of images, or images in Parquet, by themselves or in an archive. Raises JobError."""
    if file.format not in (*sniff.ARCHIVES, "parquet"):
        hint = "Put each image into a folder named like its class, and zip the folders."
        raise JobError("format_unknown", "Images come as a zip or tar of class folders.", hint=hint)
    if file.format == "parquet" or unpack.holds_parquet(ctx, file):
        files = [file] if file.format == "parquet" else unpack.tables(ctx, file)
        named = [(one.name, one.path) for one in files if one.format == "parquet"]
        lists = Lists(ctx.limits)
        with ParquetImages(named, ctx.limits, lists) as rows:
            return images.run(ctx, rows, "parquet", lists)
    with open_archive(file.path, file.format, ctx.limits) as archive:
        return images.run(ctx, archive, file.format)


def _table(ctx: Import, file: File) -> Table:
    """The table that a file is, or that the tables in an archive are together. Raises JobError."""
    if file.format not in sniff.ARCHIVES:
        return open_table(file.path, file.format, file.name, ctx.limits)
    named = [(one.name, open_table(one.path, one.format, one.name, ctx.limits)) for one in unpack.tables(ctx, file)]
    # A file beside the data, a sample submission for example, has other columns.
    first = max(named, key=lambda one: len(one[1].columns) * len(one[1].head))[1]
    alike = [one for one in named if set(one[1].columns) == set(first.columns)]
    for name, other in named:
        if set(other.columns) != set(first.columns):
            ctx.issues.add("file_left_out", "warning", line=1, value=f"{name} has other columns")
            other.close()
    return alike[0][1] if len(alike) == 1 else JoinedTables(alike)
