"""One import from its job folder to its result."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from workers.contracts.errors import JobError
from workers.contracts.job import IngestSpec
from workers.contracts.jobdir import JobDir
from workers.contracts.kinds import KINDS
from workers.contracts.manifest import LOOKS, SUSPECTS, IngestResult
from workers.ingest import findings, sniff, unpack
from workers.ingest.context import Import, OtherwiseError
from workers.ingest.issues import Severity
from workers.ingest.kinds import interactions, table, text
from workers.ingest.readers.joined import JoinedTables
from workers.ingest.reading import UNDECIDED_CELL
from workers.ingest.records import Table
from workers.ingest.unpack import File

# A table's first import gets along without what images, edits and appends need.
if TYPE_CHECKING:
    from workers.ingest.image_look import Looks
    from workers.ingest.version import Version

# Who imports a table, by the kind of data in it. A new kind is a module and a line here.
_TABLES: dict[str, Callable[[Import, Table], IngestResult]] = {
    "text": text.run,
    "recommendation": interactions.run,
    "tabular": table.run,
}


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
    if spec.corrections or spec.repair:
        return _edit(ctx, spec)
    return _append(ctx, spec) if spec.append else _import(ctx, spec)


def _edit(ctx: Import, spec: IngestSpec) -> IngestResult:
    """An earlier version, edited. Raises JobError edit_empty where it would stay as it is."""
    from workers.ingest import correct, repairs
    from workers.ingest.carried import carry_suspects
    from workers.ingest.edits import Edited, EditedImages, EditedTable, write_lineage
    from workers.ingest.image_lists import Lists
    from workers.ingest.kinds import images
    from workers.ingest.version import Version

    with Version(ctx.source, _beside(ctx, findings.NAME), _beside(ctx, SUSPECTS)) as version:
        ctx.several = version.is_multi_label
        if spec.repair:
            edit = repairs.by_name(spec.repair).plan(version)
        else:
            edit = correct.plan(json.loads((ctx.job_dir.inputs / "changes.json").read_bytes()), version)
        edited = Edited(version, edit)
        if KINDS[spec.kind].archive:
            lists = Lists(ctx.limits)
            result = images.run(ctx, EditedImages(edited, lists, _looks(ctx, version)), "edit", lists)
        else:
            source = EditedTable(edited, version.schema, spec.mapping)
            ctx.spec = spec.model_copy(update={"mapping": source.mapping})
            result = _TABLES[spec.kind](ctx, source)
    if not any(edited.counts.values()):
        raise JobError("edit_empty")
    parents = write_lineage(ctx, edited)
    if suspects := _beside(ctx, SUSPECTS):
        output = ctx.job_dir.output
        carry_suspects(suspects, output / "data.parquet", output / SUSPECTS, parents, edit.labels, edit.renamed)
    profile = {**result.profile, "edit": {"repair": spec.repair, **edited.counts}}
    return result.model_copy(update={"mapping": spec.mapping, "profile": profile})


def _beside(ctx: Import, name: str) -> Path | None:
    path = ctx.job_dir.inputs / name
    return path if path.exists() else None


def _looks(ctx: Import, version: "Version") -> "Looks | None":
    """What was seen of the earlier version's images."""
    from workers.ingest import looks_file

    return looks_file.read(ctx.job_dir.inputs / LOOKS, version.rows)


def _import(ctx: Import, spec: IngestSpec) -> IngestResult:
    if KINDS[spec.kind].archive:
        return _import_images(ctx)
    with closing(_table(ctx)) as source:
        for name in source.facts.get("left_out", ()):
            ctx.issues.add("file_left_out", "warning", line=1, value=name)
        for name, why in source.facts.get("columns_left_out", {}).items():
            severity: Severity = "warning" if spec.kind == "tabular" else "info"
            ctx.issues.add("column_left_out", severity, line=1, column=name, value=f"{name}: {why}")
        return _TABLES[spec.kind](ctx, source)


def _append(ctx: Import, spec: IngestSpec) -> IngestResult:
    """An earlier version, and after its rows those of the files. Raises JobError."""
    from workers.ingest.version import Version

    with Version(ctx.job_dir.inputs / "parent") as version:
        ctx.several = version.is_multi_label
        added = _append_images if KINDS[spec.kind].archive else _append_table
        result = added(ctx, spec, version)
        profile = {**result.profile, "append": {"earlier": version.rows}}
    return result.model_copy(update={"mapping": spec.mapping, "profile": profile})


def _append_images(ctx: Import, spec: IngestSpec, version: "Version") -> IngestResult:
    from workers.ingest.edits import Edit, Edited, EditedImages
    from workers.ingest.image_lists import Lists
    from workers.ingest.joined_images import JoinedImages, added_folders, opened
    from workers.ingest.kinds import images

    files = _image_files(ctx)
    names = {name for group in version.groups(["name"]) for name in group["name"].to_pylist()}
    lists = Lists(ctx.limits, spec.mapping)
    added = opened(ctx, files, added_folders(names, len(files)), lists, UNDECIDED_CELL)
    earlier = EditedImages(Edited(version, Edit()), lists, _looks(ctx, version))
    with JoinedImages([earlier, *added]) as archive:
        return images.run(ctx, archive, files[0].format, lists)


def _append_table(ctx: Import, spec: IngestSpec, version: "Version") -> IngestResult:
    from workers.ingest.append import AppendedTable
    from workers.ingest.edits import Edit, Edited, EditedTable

    with closing(_table(ctx)) as new:
        source = AppendedTable(EditedTable(Edited(version, Edit()), version.schema, spec.mapping), new, spec)
        options = {name: spec.mapping[name] for name in KINDS[spec.kind].options if name in spec.mapping}
        ctx.spec = spec.model_copy(update={"mapping": {**source.mapping, **options}})
        return _TABLES[spec.kind](ctx, source)


def _import_images(ctx: Import) -> IngestResult:
    """Archives of images, or images in Parquet, by themselves or in archives. Raises JobError."""
    from workers.ingest.archives import open_archive
    from workers.ingest.archives.parquet_images import ParquetImages
    from workers.ingest.image_lists import Lists
    from workers.ingest.joined_images import JoinedImages, named_folders, opened, parquet_in
    from workers.ingest.kinds import images

    files = _image_files(ctx)
    lists = Lists(ctx.limits, ctx.spec.mapping)
    if len(files) > 1:
        with JoinedImages(opened(ctx, files, named_folders([file.name for file in files]), lists)) as archive:
            return images.run(ctx, archive, files[0].format, lists)
    if (rows := parquet_in(ctx, files[0])) is not None:
        with ParquetImages(rows, ctx.limits, lists) as archive:
            return images.run(ctx, archive, "parquet", lists)
    with open_archive(files[0].path, files[0].format, ctx.limits) as archive:
        return images.run(ctx, archive, files[0].format)


def _image_files(ctx: Import) -> list[File]:
    return [File(path, name, sniff.sniff(path, name)) for path, name in ctx.files]


def _table(ctx: Import) -> Table:
    """The table that the files of the import are together. Raises JobError `columns_differ`."""
    files = [unpack.unpacked(ctx, path, name) for path, name in ctx.files]
    named = [one for file in files for one in unpack.open_tables(ctx, file, ctx.spec)]
    first = named[0]
    for name, other in named[1:]:
        if set(other.columns) != set(first[1].columns):
            evidence = "; ".join(f"{one}: {', '.join(table.columns[:30])}" for one, table in (first, (name, other)))
            raise JobError("columns_differ", evidence=evidence[:1000])
    return first[1] if len(named) == 1 else JoinedTables(named)
