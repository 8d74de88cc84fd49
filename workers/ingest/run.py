"""One import from its job folder to its result."""

from contextlib import closing

from workers.contracts.errors import JobError
from workers.contracts.job import IngestSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.kinds import KINDS
from workers.contracts.manifest import IngestResult
from workers.ingest import tables
from workers.ingest.context import Import, OtherwiseError
from workers.ingest.issues import Severity


def run(job_dir: JobDir) -> IngestResult:
    """Import `inputs/source` into `output/data.parquet` and `output/errors.csv`.

    Raises JobError; where rows had been rejected, result.json and `output/errors.csv` tell them all the same.
    """
    spec = job_dir.spec().ingest
    if spec is None:
        raise ValueError("the spec is not one of an ingest job")
    try:
        return _run(job_dir, spec)
    except OtherwiseError as error:
        return _run(job_dir, spec, **error.found)


def _run(job_dir: JobDir, spec: IngestSpec, several: bool | None = None, day_first: bool | None = None) -> IngestResult:
    with Import(job_dir, spec) as ctx:
        ctx.several, ctx.day_first = several, day_first
        ctx.progress.report(0.0, "Opening the file", always=True)
        try:
            result = _version(ctx, spec)
        except JobError as error:
            ctx.write_rejected(error)
            raise
        ctx.progress.report(1.0, "Done", always=True)
    return result


def _version(ctx: Import, spec: IngestSpec) -> IngestResult:
    # What images, edits and appends need is loaded for them alone: most jobs are a table's first import.
    if spec.append or spec.corrections or spec.repair:
        from workers.ingest import later_versions

        return later_versions.appended(ctx, spec) if spec.append else later_versions.edited(ctx, spec)
    if KINDS[spec.kind].archive:
        from workers.ingest import image_files

        return image_files.imported(ctx)
    return _table(ctx, spec)


def _table(ctx: Import, spec: IngestSpec) -> IngestResult:
    with closing(tables.opened(ctx)) as source:
        for name in source.facts.get("left_out", ()):
            ctx.issues.add("file_left_out", "warning", line=1, value=name)
        for name, why in source.facts.get("columns_left_out", {}).items():
            severity: Severity = "warning" if spec.kind == "tabular" else "info"
            ctx.issues.add("column_left_out", severity, line=1, column=name, value=f"{name}: {why}")
        return tables.RUN[spec.kind](ctx, source)
