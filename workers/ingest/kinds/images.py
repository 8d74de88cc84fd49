"""Image classification: an archive of class folders."""

import os
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from workers.contracts.errors import JobError
from workers.contracts.manifest import IngestResult
from workers.ingest import finish, hashing, image_doctor, image_lists, items, layout, near, reading
from workers.ingest.archives.entries import Archive, Entry
from workers.ingest.context import READ_SHARE, Import
from workers.ingest.image_lists import Lists
from workers.ingest.image_look import Looks
from workers.ingest.images import Decoded, decode, without_warnings
from workers.ingest.label_sets import OPTION
from workers.ingest.layout import Folder, Place
from workers.ingest.parquet_out import IMAGE_SCHEMA, column_types
from workers.ingest.records import Problem, Record
from workers.ingest.statistics import summary

_STAGED = pa.schema([field for field in IMAGE_SCHEMA if field.name not in ("row", "split", "label")])
# What a thread decodes at a time: so many files, or those that come to so many bytes.
_BATCH_IMAGES = 32
_BATCH_BYTES = 2**20


class _Image(NamedTuple):
    """An entry that was read: its number and name in the archive, its folder, and what it is."""

    number: int
    name: str
    folder: Folder
    data: bytes
    found: Decoded | Problem
    digest: bytes = b""


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
        self.looks = Looks()
        self.formats: Counter[str] = Counter()
        self.folder_codes: dict[Folder, int] = {}

    def add(self, image: _Image, found: Decoded, short_hash: int) -> None:
        self.hashes.append(short_hash)
        self.numbers.append(image.number)
        self.folders.append(self.folder_codes.setdefault(image.folder, len(self.folder_codes)))
        self.widths.append(found.width)
        self.heights.append(found.height)
        self.bytes.append(len(image.data))
        self.names.append(image.name)
        self.looks.add(found.look)
        self.formats[found.format] += 1


def run(ctx: Import, archive: Archive, format: str, lists: Lists | None = None) -> IngestResult:
    """Import an archive; `lists` knows labels that do not stand in it. Raises JobError."""
    ctx.open_rejects(["name"])
    kept, lists = _Kept(), lists or Lists(ctx.limits, ctx.spec.mapping.get(OPTION, ""))
    with ctx.stage(_STAGED) as staged:
        for image in _decoded(ctx, archive, lists):
            if isinstance(image.found, Problem):
                _reject(ctx, image.number, image.name, image.found)
                continue
            kept.add(image, image.found, hashing.short(image.digest))
            width, height = image.found.width, image.found.height
            row = (image.digest.hex(), image.data, image.name, width, height, image.found.format)
            staged.add(row, len(image.data) + 200)
            ctx.progress.report(READ_SHARE * archive.fraction(), "Reading images")
    return _finish(ctx, kept, lists, format)


def _finish(ctx: Import, kept: _Kept, lists: Lists, format: str) -> IngestResult:
    labelled, keep = _label(ctx, kept, lists)
    if len(kept.hashes) and not len(labelled):
        raise JobError("archive_no_classes", evidence=f"For example: {kept.names[0][:200]}")
    items.check(ctx, labelled)
    widths, heights = (np.frombuffer(sizes, np.uint32)[keep] for sizes in (kept.widths, kept.heights))
    names = [kept.names[row] for row in np.flatnonzero(keep).tolist()]
    image_doctor.tell(ctx, image_doctor.Images(names, kept.looks.traits[keep], widths, heights), labelled)
    looks = near.Thumbnails(kept.looks.hashes[keep], kept.looks.grey[keep], widths / heights, kept.looks.traits[keep])
    return items.write(
        ctx,
        labelled,
        IMAGE_SCHEMA,
        shown="name",
        columns=column_types(IMAGE_SCHEMA),
        mapping=dict(ctx.spec.mapping),
        keep=keep,
        first=near.of_images(ctx, labelled.hashes, looks),
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


def _decoded(ctx: Import, archive: Archive, lists: Lists) -> Iterator[_Image]:
    """Every file of the archive, in order. Decoding runs in a few threads (Pillow frees the GIL), some files at a time,
    because handing one over takes as long as decoding a small one."""
    threads = min(4, os.cpu_count() or 1)
    waiting: deque[Future[list[_Image]]] = deque()
    with without_warnings(), ThreadPoolExecutor(threads) as pool:
        for batch in _batches(_entries(ctx, archive, lists)):
            waiting.append(pool.submit(_decode, batch, ctx.limits.max_image_pixels))
            if len(waiting) > threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _batches(images: Iterable[_Image]) -> Iterator[list[_Image]]:
    batch: list[_Image] = []
    size = 0
    for image in images:
        batch.append(image)
        size += len(image.data)
        if len(batch) >= _BATCH_IMAGES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decode(batch: list[_Image], max_pixels: int) -> list[_Image]:
    """The images with what they are; those that could not even be read stay as they are."""
    return [
        image._replace(found=decode(image.data, max_pixels), digest=hashing.of_bytes(image.data))
        if image.data
        else image
        for image in batch
    ]


def _entries(ctx: Import, archive: Archive, lists: Lists) -> Iterator[_Image]:
    """The archive's files with their bytes, or with their problem and none. Junk of operating systems is left out, and
    lists of labels go to `lists`."""
    seen: set[tuple[str, ...]] = set()
    for entry in archive:
        if entry.is_junk:
            ctx.issues.add("entry_ignored", "info", line=entry.number, value=entry.name)
            continue
        is_list = entry.name.lower().endswith(image_lists.ENDINGS)
        content = entry.problem or _content(
            entry, seen, image_lists.MAX_BYTES if is_list else ctx.limits.max_image_bytes
        )
        if is_list and isinstance(content, bytes) and lists.take(entry.parts, content):
            continue
        name, folder = "/".join(entry.parts) or entry.name, entry.parts[:-1]
        if isinstance(content, Problem):
            yield _Image(entry.number, name, folder, b"", content)
        else:
            yield _Image(entry.number, name, folder, content, Problem("image_unreadable", "Not decoded yet."))


def _content(entry: Entry, seen: set[tuple[str, ...]], limit: int) -> bytes | Problem:
    if entry.parts in seen:
        return Problem("entry_duplicate", "Another entry has the same path.")
    seen.add(entry.parts)
    content = entry.read(limit)
    return content if content else Problem("image_truncated", "The file is empty.")


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
