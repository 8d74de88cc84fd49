"""Versions made of an earlier one: edited, or with the rows of further files."""

import json
from contextlib import closing
from pathlib import Path

from workers.contracts.errors import JobError
from workers.contracts.job import IngestSpec
from workers.contracts.kinds import KINDS
from workers.contracts.manifest import LOOKS, SUSPECTS, IngestResult
from workers.ingest import correct, findings, image_files, looks_file, repairs, tables
from workers.ingest.append import AppendedTable
from workers.ingest.carried import carry_suspects
from workers.ingest.context import Import
from workers.ingest.edits import Edit, Edited, EditedImages, EditedTable, write_lineage
from workers.ingest.image_lists import Lists
from workers.ingest.image_look import Looks
from workers.ingest.joined_images import JoinedImages, added_folders, opened
from workers.ingest.kinds import images
from workers.ingest.reading import UNDECIDED_CELL
from workers.ingest.version import Version


def edited(ctx: Import, spec: IngestSpec) -> IngestResult:
    """An earlier version, repaired or corrected. Raises JobError `edit_empty` where it would stay as it is."""
    with Version(ctx.source, _beside(ctx, findings.NAME), _beside(ctx, SUSPECTS)) as version:
        ctx.several = version.is_multi_label
        if spec.repair:
            edit = repairs.by_name(spec.repair).plan(version)
        else:
            edit = correct.plan(json.loads((ctx.job_dir.inputs / "changes.json").read_bytes()), version)
        found = Edited(version, edit)
        if KINDS[spec.kind].archive:
            lists = Lists(ctx.limits)
            result = images.run(ctx, EditedImages(found, lists, _looks(ctx, version)), "edit", lists)
        else:
            source = EditedTable(found, version.schema, spec.mapping)
            ctx.spec = spec.model_copy(update={"mapping": source.mapping})
            result = tables.RUN[spec.kind](ctx, source)
    if not any(found.counts.values()):
        raise JobError("edit_empty")
    parents = write_lineage(ctx, found)
    if suspects := _beside(ctx, SUSPECTS):
        output = ctx.job_dir.output
        carry_suspects(suspects, output / "data.parquet", output / SUSPECTS, parents, edit.labels, edit.renamed)
    profile = {**result.profile, "edit": {"repair": spec.repair, **found.counts}}
    return result.model_copy(update={"mapping": spec.mapping, "profile": profile})


def appended(ctx: Import, spec: IngestSpec) -> IngestResult:
    """An earlier version, and after its rows those of the files. Raises JobError."""
    with Version(ctx.job_dir.inputs / "parent") as version:
        ctx.several = version.is_multi_label
        added = _images if KINDS[spec.kind].archive else _table
        result = added(ctx, spec, version)
        profile = {**result.profile, "append": {"earlier": version.rows}}
    return result.model_copy(update={"mapping": spec.mapping, "profile": profile})


def _images(ctx: Import, spec: IngestSpec, version: Version) -> IngestResult:
    files = image_files.of(ctx)
    names = {name for group in version.groups(["name"]) for name in group["name"].to_pylist()}
    lists = Lists(ctx.limits, spec.mapping)
    added = opened(ctx, files, added_folders(names, len(files)), lists, UNDECIDED_CELL)
    earlier = EditedImages(Edited(version, Edit()), lists, _looks(ctx, version))
    with JoinedImages([earlier, *added]) as archive:
        return images.run(ctx, archive, files[0].format, lists)


def _table(ctx: Import, spec: IngestSpec, version: Version) -> IngestResult:
    with closing(tables.opened(ctx)) as new:
        source = AppendedTable(EditedTable(Edited(version, Edit()), version.schema, spec.mapping), new, spec)
        options = {name: spec.mapping[name] for name in KINDS[spec.kind].options if name in spec.mapping}
        ctx.spec = spec.model_copy(update={"mapping": {**source.mapping, **options}})
        return tables.RUN[spec.kind](ctx, source)


def _beside(ctx: Import, name: str) -> Path | None:
    path = ctx.job_dir.inputs / name
    return path if path.exists() else None


def _looks(ctx: Import, version: Version) -> Looks | None:
    """What was seen of the earlier version's images."""
    return looks_file.read(ctx.job_dir.inputs / LOOKS, version.rows)
