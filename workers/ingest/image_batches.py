"""The files of an archive, decoded some at a time in a few threads, in order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from workers.ingest import hashing, image_lists
from workers.ingest.archives.entries import Archive, Entry
from workers.ingest.context import Import
from workers.ingest.hashing import Hashes
from workers.ingest.image_lists import Lists
from workers.ingest.image_look import Known, Looks, look
from workers.ingest.images import Decoded, decode, without_warnings
from workers.ingest.layout import Folder
from workers.ingest.parquet_out import IMAGE_SCHEMA
from workers.ingest.records import Problem

SCHEMA: Final = pa.schema([field for field in IMAGE_SCHEMA if field.name not in ("row", "split", "label")])
# What a thread decodes at a time: so many files, or those that come to so many bytes.
_FILES: Final = 32
_BYTES: Final = 2**20


class File(NamedTuple):
    """A file that was read: its number and name in the archive, its folder, its bytes or what is wrong with it, and
    what is known of it already."""

    number: int
    name: str
    folder: Folder
    content: bytes | Problem
    known: Known | None


class Batch(NamedTuple):
    """Some files: the images among them, as rows of SCHEMA with their hashes and looks, and the others, each with what
    is wrong with it; both in the archive's order."""

    images: list[File]
    rows: pa.RecordBatch
    hashes: Hashes
    looks: Looks
    others: list[tuple[File, Problem]]


def decoded(ctx: Import, archive: Archive, lists: Lists) -> Iterator[Batch]:
    """Every file of the archive. Lists of labels go to `lists`; junk of operating systems is left out.

    Pillow frees the GIL while it decodes; handing over each file by itself would take as long as decoding a small one.
    """
    threads = min(4, os.cpu_count() or 1)
    waiting: deque[Future[Batch]] = deque()
    with without_warnings(), ThreadPoolExecutor(threads) as pool:
        for files in _together(_files(ctx, archive, lists)):
            waiting.append(pool.submit(_decode, files, ctx.limits.max_image_pixels))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _together(files: Iterable[File]) -> Iterator[list[File]]:
    some: list[File] = []
    size = 0
    for file in files:
        if some and (some[-1].known is None) != (file.known is None):
            yield some
            some, size = [], 0
        some.append(file)
        size += 0 if isinstance(file.content, Problem) else len(file.content)
        if len(some) >= _FILES or size >= _BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _decode(files: list[File], max_pixels: int) -> Batch:
    known = [file.known for file in files if file.known]
    if known:
        hexadecimal = [one.digest for one in known]
        looks = known[0].looks.at(np.array([one.row for one in known]))
        return Batch(files, _rows(files, hexadecimal, known), hashing.short(hexadecimal), looks, [])
    images: list[File] = []
    contents: list[bytes] = []
    decoded: list[Decoded] = []
    others: list[tuple[File, Problem]] = []
    for file in files:
        found = file.content if isinstance(file.content, Problem) else decode(file.content, max_pixels)
        if isinstance(found, Problem):
            others.append((file, found))
        elif isinstance(file.content, bytes):
            images.append(file)
            contents.append(file.content)
            decoded.append(found)
    digests = hashing.of_contents(contents)
    rows = _rows(images, digests.hexadecimal, decoded)
    return Batch(images, rows, digests.short, look([one.seen for one in decoded]), others)


def _rows(images: list[File], hexadecimal: Any, facts: Sequence[Decoded | Known]) -> pa.RecordBatch:
    columns = {
        "hash": hexadecimal,
        "image": [file.content for file in images],
        "name": [file.name for file in images],
        "width": [one.width for one in facts],
        "height": [one.height for one in facts],
        "format": [one.format for one in facts],
    }
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _files(ctx: Import, archive: Archive, lists: Lists) -> Iterator[File]:
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
        yield File(
            entry.number,
            "/".join(entry.parts) or entry.name,
            entry.parts[:-1],
            content,
            None if entry.problem else entry.known,
        )


def _content(entry: Entry, seen: set[tuple[str, ...]], limit: int) -> bytes | Problem:
    if entry.parts in seen:
        return Problem("entry_duplicate", "Another entry has the same path.")
    seen.add(entry.parts)
    content = entry.read(limit)
    return content if content else Problem("image_truncated", "The file is empty.")
