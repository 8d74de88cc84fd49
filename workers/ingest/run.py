"""One import from its job folder to its result."""

import json
from collections.abc import Callable
from contextlib import closing

from workers.contracts.errors import JobError
from workers.contracts.job import IngestSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.kinds import KINDS
from workers.contracts.manifest import IngestResult
from workers.ingest import correct, sniff
from workers.ingest.archives import open_archive
from workers.ingest.context import Import
from workers.ingest.kinds import images, interactions, table, text
from workers.ingest.readers import open_table
from workers.ingest.records import Table

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
    format = sniff.sniff(ctx.source, spec.filename)
    is_archive = format in sniff.ARCHIVES
    if KINDS[spec.kind].archive:
        if not is_archive:
            hint = "Put each image into a folder named like its class, and zip the folders."
            raise JobError("format_unknown", "Images come as a zip or tar of class folders.", hint=hint)
        with open_archive(ctx.source, format, spec.limits) as archive:
            return images.run(ctx, archive, format)
    if is_archive:
        hint = "Unpack it and upload the table itself: CSV, TSV, JSON Lines or Parquet."
        raise JobError("format_unknown", "This is an archive, not a table.", hint=hint)
    with closing(open_table(ctx.source, format, spec.filename, spec.limits)) as source:
        return _TABLES[spec.kind](ctx, source)
