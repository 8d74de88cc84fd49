"""Image classification: an archive of class folders."""

from array import array
from collections import Counter

import numpy as np
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.manifest import LOOKS, IngestResult
from workers.ingest import (
    finish,
    image_doctor,
    image_lists,
    items,
    layout,
    looks_file,
    near_images,
    reading,
    unpack,
)
from workers.ingest.archives.entries import Archive
from workers.ingest.context import READ_SHARE, Import
from workers.ingest.image_batches import SCHEMA, Batch, decoded
from workers.ingest.image_lists import Lists
from workers.ingest.image_look import Looks, joined
from workers.ingest.label_sets import OPTION
from workers.ingest.layout import Folder, Place
from workers.ingest.parquet_out import IMAGE_SCHEMA, column_types
from workers.ingest.records import Problem, Record
from workers.ingest.statistics import summary


class _Kept:
    """What stays in memory of each staged image."""

    def __init__(self) -> None:
        self.hashes = array("Q")
        self.numbers = array("q")
        self.folders = array("i")
        self.widths = array("I")
        self.heights = array("I")
        self.bytes = array("q")
        self.names: list[str] = []
        self.formats: Counter[str] = Counter()
        self.folder_codes: dict[Folder, int] = {}
        self.looks: list[Looks] = []

    def add(self, batch: Batch) -> None:
        self.hashes.frombytes(batch.hashes.tobytes())
        self.widths.extend(batch.rows["width"].to_pylist())
        self.heights.extend(batch.rows["height"].to_pylist())
        self.formats.update(batch.rows["format"].to_pylist())
        for file in batch.images:
            self.numbers.append(file.number)
            self.folders.append(self.folder_codes.setdefault(file.folder, len(self.folder_codes)))
            self.bytes.append(len(file.content))
            self.names.append(file.name)
        self.looks.append(batch.looks)


def run(ctx: Import, archive: Archive, format: str, lists: Lists | None = None) -> IngestResult:
    """Import an archive; `lists` knows labels that do not stand in it. Raises JobError."""
    ctx.open_rejects(["name"])
    others: list[str] = []
    kept, lists = _Kept(), lists or Lists(ctx.limits, ctx.spec.mapping)
    with ctx.stage(SCHEMA) as staged:
        for batch in decoded(ctx, archive, lists):
            for file, problem in batch.others:
                _reject(ctx, file.number, file.name, problem)
                others.append(file.name)
            kept.add(batch)
            staged.add_table(pa.Table.from_batches([batch.rows]))
            ctx.progress.report(READ_SHARE * archive.fraction(), "Reading images")
    if not kept.names:
        unpack.refuse_archives(others)
    return _finish(ctx, kept, lists, format)


def _finish(ctx: Import, kept: _Kept, lists: Lists, format: str) -> IngestResult:
    labelled, keep = _label(ctx, kept, lists)
    if len(kept.hashes) and not len(labelled):
        raise JobError("archive_no_classes", evidence=f"For example: {kept.names[0][:200]}")
    items.check(ctx, labelled)
    widths, heights = (np.frombuffer(sizes, np.uint32)[keep] for sizes in (kept.widths, kept.heights))
    names = [kept.names[row] for row in np.flatnonzero(keep).tolist()]
    looks = joined(kept.looks).at(keep)
    looks_file.write(ctx.job_dir.output / LOOKS, looks)
    image_doctor.tell(ctx, image_doctor.Images(names, looks.traits, widths, heights), labelled)
    return items.write(
        ctx,
        labelled,
        IMAGE_SCHEMA,
        shown="name",
        columns=column_types(IMAGE_SCHEMA),
        mapping=dict(ctx.spec.mapping),
        keep=keep,
        first=near_images.of_images(ctx, labelled.hashes, looks, widths / heights, labelled.labels),
        what="images",
        profile={
            "format": format,
            **({"lists": lists.names} if lists.names else {}),
            "width": summary(widths),
            "height": summary(heights),
            "bytes": summary(np.frombuffer(kept.bytes, np.int64)[keep]),
            "formats": dict(sorted(kept.formats.items())),
        },
    )


def _reject(ctx: Import, number: int, name: str, problem: Problem) -> None:
    shown = problem._replace(value=name if not problem.value else f"{name}: {problem.value}")
    ctx.reject(Record(number, [name]), shown)


def _label(ctx: Import, kept: _Kept, lists: Lists) -> tuple[items.Items, finish.Mask]:
    """Labels and splits from lists or else from folders, now that all are known, and which staged images have one."""
    listed = lists.places(kept.names)
    by_folder = layout.places(set(kept.folder_codes)) if listed is None else {}
    folders = list(kept.folder_codes)
    found: list[tuple[Place, int]] = []
    keep = np.ones(len(kept.hashes), np.bool_)
    places = [by_folder[folders[code]] if listed is None else listed[row] for row, code in enumerate(kept.folders)]
    if ctx.several is None and not ctx.spec.mapping.get(OPTION):
        places = image_lists.without_odd_lists(places)
    for row, place in enumerate(places):
        if isinstance(place, Place):
            found.append((place, kept.numbers[row]))
        else:
            keep[row] = False
            _reject(ctx, kept.numbers[row], kept.names[row], place)
    labelled = items.Items()
    # A split is everybody's or nobody's.
    given = [reading.split_code(place.split) for place, _ in found if place.split is not None]
    labelled.extend(
        np.frombuffer(kept.hashes, np.uint64)[keep],
        [place.label for place, _ in found],
        np.arange(len(found), dtype=np.int32),
        np.array([number for _, number in found], np.int64),
        np.array(given, np.int8) if given else None,
    )
    for name in lists.names if listed is None else ():
        ctx.issues.add("file_left_out", "warning", line=1, value=name)
    return labelled, keep
